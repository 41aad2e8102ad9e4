//! Pulls in the symbols of Wasmtime's C API; all product code is C (../src).

pub use wasmtime_c_api::*;
