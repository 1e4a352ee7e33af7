//! Leaves the unwind tables out of the released program. `panic = "abort"` never reads them, and they are a tenth of it;
//! a profile cannot say so, and `-C force-unwind-tables=no` would reach build scripts and macros, which do unwind.
//! What is lost: a backtrace has no frames. A panic still says its place, and no core is ever written.

use std::{env, fs, path::Path};

const DISCARD: &str = "SECTIONS { /DISCARD/ : {
    *(.eh_frame) *(.eh_frame.*) *(.gcc_except_table) *(.gcc_except_table.*)
} } INSERT AFTER .rodata;
";

fn main() {
    println!("cargo::rerun-if-changed=packaging/build.rs");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let folder = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
        let script = Path::new(&folder).join("discard.ld");
        fs::write(&script, DISCARD).expect("OUT_DIR can be written");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
}
