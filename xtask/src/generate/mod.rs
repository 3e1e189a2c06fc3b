//! `xtask generate`: the files of the repository that are generated from code.

mod charts;
mod protocol;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What writes the generated files.
const COMMAND: &str = "cargo run -p xtask -- generate";

/// All generated files, by path below the repository's root.
fn files(root: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let mut files = charts::files();
    files.extend(protocol::files(root)?);
    Ok(files)
}

/// The files that are not as generated, by path below the root.
fn stale(root: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let mut files = files(root)?;
    files.retain(|path, text| !std::fs::read_to_string(root.join(path)).is_ok_and(|found| found == *text));
    Ok(files)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn run(check: bool) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let stale = stale(&root())?;
    if check {
        return Ok(report(&stale.into_keys().collect::<Vec<_>>()));
    }
    for (path, text) in stale {
        let file = root().join(&path);
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&file, text)?;
        println!("{path}");
    }
    Ok(ExitCode::SUCCESS)
}

fn report(stale: &[String]) -> ExitCode {
    if stale.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("not as generated: {}\nrun: {COMMAND}", stale.join(", "));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_up_to_date() {
        let stale: Vec<_> = stale(&root()).unwrap().into_keys().collect();
        assert!(stale.is_empty(), "not as generated: {stale:?}, run: {COMMAND}");
    }
}
