//! The server inside a program: loads a configuration, serves it, asks it what a client would get, and stops on Ctrl-C.
//!
//! ```console
//! $ cargo run --example embed -- examples/weighted-pair/rollcall.toml
//! ```

use std::path::PathBuf;

use rollcall::cli::serve::{ServeOptions, start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "examples/weighted-pair/rollcall.toml".to_owned());
    let config_file = PathBuf::from(file);

    // Loading touches nothing but files: a program may look at the plan, or refuse it, before a socket is opened.
    let plan = match rollcall::config::load(Some(&config_file)) {
        Ok(plan) => plan,
        Err(error) => {
            for diagnostic in &error.diagnostics {
                eprintln!("{}", diagnostic.rendered);
            }
            return Err("the configuration does not load".into());
        }
    };
    for zone in &plan.zones {
        println!("zone {} with {} balanced names", zone.origin, zone.names.len());
    }

    // Binds, starts the checker, waits for first verdicts as `initial` says, then answers.
    let server = start(ServeOptions { config_file: Some(config_file), plan }).await?;
    for (transport, address) in &server.dns {
        println!("answering on {transport:?} {address}");
    }
    println!("Ctrl-C ends it");

    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}
