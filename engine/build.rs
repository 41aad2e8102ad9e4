//! Copies Wasmtime's C headers to TARGET_DIR/include, a path that the Meson build knows.

use std::{env, fs, io, path::Path};

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn main() {
    let include = env::var("DEP_WASMTIME_C_API_INCLUDE").expect("set by wasmtime-c-api-impl");
    // OUT_DIR is TARGET_DIR/release/build/NAME-HASH/out.
    let out = env::var("OUT_DIR").expect("set by cargo");
    let target = Path::new(&out).ancestors().nth(4).expect("cargo's layout");
    copy(Path::new(&include), &target.join("include")).expect("copy the headers");
    println!("cargo:rerun-if-changed=build.rs");
}
