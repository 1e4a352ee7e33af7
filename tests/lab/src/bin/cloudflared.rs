//! The stand-in cloudflared, with the real one's command line and exit codes.

use std::io::Write;

use tunnelwarden_lab::connector;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let code = match tokio::task::LocalSet::new().run_until(connector::run(&arguments)).await {
        Ok(()) => 0,
        Err(exit) => {
            let line = format!("{}\n", exit.text);
            // The code still says it if nobody reads.
            let _ = if exit.to_stdout {
                std::io::stdout().write_all(line.as_bytes())
            } else {
                std::io::stderr().write_all(line.as_bytes())
            };
            exit.code
        }
    };
    // Not a return: what is left of the tasks must not hold the process.
    std::process::exit(code);
}
