//! The program as its users call it, with real tools, real signals and real trees.

#![allow(unreachable_pub, reason = "a test crate has no outside")]

mod architecture;
mod commands;
mod commit;
mod configs;
mod exit_codes;
mod failures;
mod forbidden;
mod kills;
mod layouts;
mod leftovers;
mod library;
mod locks;
mod output;
mod own_terminals;
mod projects;
mod readme;
mod retries;
mod run;
mod scenarios;
mod setup;
mod shells;
mod signals;
mod support;
mod terminals;
mod trees;
mod typed_to;
mod views;
