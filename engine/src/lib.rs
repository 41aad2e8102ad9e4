//! Pulls in the symbols of Wasmtime's C API, and adds one of our own; all product code is C (../src).

pub use wasmtime_c_api::*;

use std::{ptr, slice};

/// The text form of the module of `size` bytes at `wasm`, in `buffer` of `capacity` bytes. Returns how many bytes it takes;
/// if that is more than `capacity`, nothing was written. 0: it is no valid module.
///
/// # Safety
/// `wasm` and `buffer` must be valid for as many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn polyagent_module_text(wasm: *const u8, size: usize, buffer: *mut u8, capacity: usize) -> usize {
    let wasm = unsafe { slice::from_raw_parts(wasm, size) };
    let Ok(text) = wasmprinter::print_bytes(wasm) else { return 0 };
    if text.len() <= capacity {
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), buffer, text.len()) };
    }
    text.len()
}
