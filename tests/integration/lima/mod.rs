//! The Lima backend: against a limactl of the tests' own, and against a real one where there is one.

mod fake;
mod real;
