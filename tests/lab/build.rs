//! Turns the schema of the tunnel protocol into code.

fn main() {
    println!("cargo::rerun-if-changed=schema/tunnel.capnp");
    let made = capnpc::CompilerCommand::new()
        .src_prefix("schema")
        .file("schema/tunnel.capnp")
        .default_parent_module(vec!["wire".into()])
        .run();
    if let Err(error) = made {
        println!(
            "cargo::error=the schema was not compiled; is Debian's package capnproto installed? {error}"
        );
    }
}
