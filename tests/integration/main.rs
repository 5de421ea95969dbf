//! The program as its users call it, with real tools, real signals and real trees.

#![allow(unreachable_pub, reason = "a test crate has no outside")]

mod architecture;
mod beta;
mod book;
mod ci_logs;
mod commands;
mod commit;
mod configs;
mod doctor;
mod endings;
mod every_end;
mod exit_codes;
mod failures;
mod forbidden;
mod interrupts;
mod isolation;
mod junit;
mod kills;
mod layouts;
mod leftovers;
mod library;
mod lima;
mod locks;
mod output;
mod own_folders;
mod own_terminals;
mod plan;
mod projects;
mod readme;
mod recipes;
mod retries;
mod run;
mod scenarios;
mod secrets;
mod setup;
mod shells;
mod sidecar;
mod signals;
mod support;
mod terminals;
mod transfers;
mod trees;
mod typed_to;
mod views;
