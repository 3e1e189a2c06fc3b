//! `xtask tenant`.

use std::process::ExitCode;

pub fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let spec = serde_json::from_reader(std::io::stdin())?;
    println!("{}", serde_json::to_string(&ntro_manifests::tenant::manifests(&spec))?);
    Ok(ExitCode::SUCCESS)
}
