//! The only place that writes to standard output and standard error.

use serde::Serialize;

use crate::args::{Global, Output};
use crate::error::{Failure, Result};

/// Writes results to standard output and progress to standard error, as the flags ask.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    output: Output,
    headers: bool,
    quiet: bool,
}

/// A table: a header, or none if the first row is one, and rows of cells. Columns from `wide_from` on appear with `-o wide` only.
#[derive(Debug, Default)]
pub struct Table {
    /// Column titles, upper case.
    pub header: Vec<&'static str>,
    /// Cells, one vector a row.
    pub rows: Vec<Vec<String>>,
    /// Index of the first column that only `-o wide` shows.
    pub wide_from: Option<usize>,
}

#[allow(clippy::unused_self, reason = "every way out goes through a printer, so that one place knows them all")]
impl Printer {
    /// A printer for the global flags.
    pub fn new(global: &Global) -> Self {
        Self { output: global.output, headers: !global.no_headers, quiet: global.quiet }
    }

    /// The format asked for.
    pub fn output(self) -> Output {
        self.output
    }

    /// Whether a person reads the result.
    pub fn for_people(self) -> bool {
        matches!(self.output, Output::Table | Output::Wide)
    }

    /// A line of the result.
    pub fn line(self, text: impl AsRef<str>) {
        write_all(&mut std::io::stdout().lock(), &[text.as_ref().as_bytes(), b"\n"]);
    }

    /// Bytes of the result, as they are.
    pub fn bytes(self, bytes: &[u8]) {
        write_all(&mut std::io::stdout().lock(), &[bytes]);
    }

    /// A line of progress, on standard error.
    pub fn progress(self, text: impl AsRef<str>) {
        if !self.quiet {
            write_all(&mut std::io::stderr().lock(), &[text.as_ref().as_bytes(), b"\n"]);
        }
    }

    /// A warning or an error, on standard error, whatever the flags.
    pub fn warn(self, text: impl AsRef<str>) {
        write_all(&mut std::io::stderr().lock(), &[text.as_ref().as_bytes(), b"\n"]);
    }

    /// Objects: as JSON or YAML documents, as `kind/name` lines, or as the table.
    pub fn objects<T: Serialize>(self, objects: &[T], table: impl FnOnce() -> Table) -> Result<()> {
        match self.output {
            Output::Json => {
                let text = if let [one] = objects {
                    serde_json::to_string_pretty(one)
                } else {
                    serde_json::to_string_pretty(
                        &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}),
                    )
                };
                self.line(text.map_err(|e| Failure::Other(format!("cannot print JSON: {e}")))?);
            }
            Output::Yaml => {
                for (i, object) in objects.iter().enumerate() {
                    if i > 0 {
                        self.line("---");
                    }
                    self.bytes(yaml(object)?.as_bytes());
                }
            }
            Output::Name => {
                for object in objects {
                    let value = serde_json::to_value(object).map_err(|e| Failure::Other(e.to_string()))?;
                    let kind = value["kind"].as_str().unwrap_or("object").to_lowercase();
                    self.line(format!("{kind}/{}", value["metadata"]["name"].as_str().unwrap_or_default()));
                }
            }
            Output::Table | Output::Wide => self.table(&table()),
        }
        Ok(())
    }

    /// A table, columns aligned, three spaces apart.
    pub fn table(self, table: &Table) {
        let columns = match (self.output, table.wide_from) {
            (Output::Wide, _) | (_, None) => table.rows.first().map_or(0, Vec::len),
            (_, Some(n)) => n,
        };
        let width = |i: usize| {
            let cells = table.rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count());
            cells.chain(table.header.get(i).filter(|_| self.headers).map(|h| h.len())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let print = |cells: &[&str]| {
            let line: Vec<String> = cells
                .iter()
                .take(columns)
                .zip(&widths)
                .map(|(c, w)| format!("{c}{}", " ".repeat(w - c.chars().count())))
                .collect();
            self.line(line.join("   ").trim_end());
        };
        if self.headers && !table.rows.is_empty() && !table.header.is_empty() {
            print(&table.header);
        }
        for row in &table.rows {
            print(&row.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

/// A value as YAML, safe for YAML 1.1 readers.
pub fn yaml<T: Serialize>(value: &T) -> Result<String> {
    let mut text = serde_saphyr::to_string(value).map_err(|e| Failure::Other(format!("cannot print YAML: {e}")))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// A reader that closed the pipe (`| head`) is no error of ours.
fn write_all(to: &mut impl std::io::Write, parts: &[&[u8]]) {
    for part in parts {
        if to.write_all(part).is_err() {
            return;
        }
    }
    let _ = to.flush();
}
