//! The Lima backend: against a limactl of the tests' own, and against a real one where there is one.

mod agent;
mod carry;
mod library;
mod ready;
mod real;
mod scripted;
mod shell;
mod steps;
mod tools;
