//! Writes the files that are generated from this crate: the CRDs' chart, the admission policies, the tenant's chart.
//! With `--check` it writes nothing and fails if one of them is not as it should be.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod render;

use std::path::Path;
use std::process::ExitCode;

fn main() -> std::io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let check = std::env::args().any(|argument| argument == "--check");
    let mut stale = Vec::new();
    for (path, text) in render::files() {
        let file = root.join(&path);
        if std::fs::read_to_string(&file).is_ok_and(|old| old == text) {
            continue;
        }
        if !check {
            if let Some(directory) = file.parent() {
                std::fs::create_dir_all(directory)?;
            }
            std::fs::write(&file, text)?;
            println!("{path}");
        }
        stale.push(path);
    }
    if check && !stale.is_empty() {
        eprintln!("not as generated: {}\nrun: cargo run -p ntro-crds --example generate", stale.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
