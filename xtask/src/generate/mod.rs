//! `xtask generate`: the files of the repository that are generated from code.

mod charts;
mod protocol;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// What writes the generated files.
const COMMAND: &str = "cargo run -p xtask -- generate";

/// All generated files, by path below the repository's root.
fn files(root: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let mut files = charts::files();
    files.extend(protocol::files(root)?);
    Ok(files)
}

pub fn run(check: bool) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut stale = Vec::new();
    for (path, text) in files(&root)? {
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
        eprintln!("not as generated: {}\nrun: {COMMAND}", stale.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
