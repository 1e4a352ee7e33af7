//! The stand-in edge. `edge run …` serves, `edge pki …` only makes the certificates, `edge ctl …` sends a
//! command to a running one and prints its answer.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use tunnelwarden_lab::{
    edge::{self, control},
    pki,
};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve connectors and visitors.
    Run(Box<Run>),
    /// Make the certificates and leave.
    Pki {
        #[command(flatten)]
        names: Names,
    },
    /// Send one command to a running edge.
    Ctl {
        #[arg(long)]
        control: PathBuf,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Args)]
struct Names {
    /// Directory of the certificates; made if missing.
    #[arg(long)]
    pki: PathBuf,
    /// A public name that leads to the tunnel; repeat for more.
    #[arg(long = "host")]
    hosts: Vec<String>,
    /// A name answered without any tunnel.
    #[arg(long, default_value = "www.cloudflare.com")]
    control_host: String,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    names: Names,
    /// Tunnel port address (TCP and UDP); repeat for more, both regions alike.
    #[arg(long = "tunnel", required = true)]
    tunnel: Vec<SocketAddr>,
    /// Address for visitors (HTTPS).
    #[arg(long)]
    public: SocketAddr,
    /// Path of the control socket.
    #[arg(long)]
    control: PathBuf,
    /// File the events are appended to.
    #[arg(long)]
    events: Option<PathBuf>,
    #[arg(long)]
    tunnel_id: String,
    /// The accepted secret, in base64.
    #[arg(long)]
    tunnel_secret: String,
    /// Seconds without an answer after which a connector leaves the route.
    #[arg(long, default_value_t = 5.0)]
    silence_limit: f64,
    /// Configuration (JSON) pushed to connectors, for tunnels that are managed remotely.
    #[arg(long)]
    remote_config: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Cli::parse().verb {
        Verb::Run(run) => tokio::task::LocalSet::new().run_until(edge::run(settings(*run)?)).await,
        Verb::Pki { names } => {
            let mut all = names.hosts;
            all.extend(edge::own_names(&names.control_host));
            pki::prepare(&names.pki, &all)
        }
        Verb::Ctl { control, command } => {
            println!("{}", control::send(&control, &command.join(" ")).await?);
            Ok(())
        }
    }
}

fn settings(run: Run) -> Result<edge::Settings> {
    let remote_config = run.remote_config.as_deref().map(serde_json::from_str).transpose();
    Ok(edge::Settings {
        tunnel_addresses: run.tunnel,
        public_address: run.public,
        control_socket: run.control,
        pki_dir: run.names.pki,
        event_log: run.events,
        tunnel_id: run.tunnel_id,
        tunnel_secret: run.tunnel_secret,
        hosts: run.names.hosts,
        control_host: run.names.control_host,
        silence_limit: Duration::try_from_secs_f64(run.silence_limit).context("--silence-limit")?,
        remote_config: remote_config.context("--remote-config is not JSON")?,
    })
}
