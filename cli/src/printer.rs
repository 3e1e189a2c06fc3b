//! The only place that writes to standard output and standard error.

use serde::Serialize;

use crate::args::{GlobalArgs, OutputFormat};
use crate::error::{Failure, Result};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    output: OutputFormat,
    headers: bool,
    quiet: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Empty if the first row is a header that `--no-headers` keeps.
    pub(crate) header: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
    /// Index of the first column that only `-o wide` shows.
    pub(crate) wide_from: Option<usize>,
}

#[allow(clippy::unused_self, reason = "all output goes through a printer, so that one place knows the flags")]
impl Printer {
    pub(crate) fn new(global: &GlobalArgs) -> Self {
        Self { output: global.output, headers: !global.no_headers, quiet: global.quiet }
    }

    pub(crate) fn output(self) -> OutputFormat {
        self.output
    }

    pub(crate) fn is_human_readable(self) -> bool {
        matches!(self.output, OutputFormat::Table | OutputFormat::Wide)
    }

    /// A line of the result, on standard output.
    pub(crate) fn line(self, text: impl AsRef<str>) {
        write_all(&mut std::io::stdout().lock(), &[text.as_ref().as_bytes(), b"\n"]);
    }

    /// Bytes of the result, unchanged.
    pub(crate) fn bytes(self, bytes: &[u8]) {
        write_all(&mut std::io::stdout().lock(), &[bytes]);
    }

    /// A line on standard error, unless `--quiet`.
    pub(crate) fn progress(self, text: impl AsRef<str>) {
        if !self.quiet {
            write_all(&mut std::io::stderr().lock(), &[text.as_ref().as_bytes(), b"\n"]);
        }
    }

    /// A warning or an error, on standard error, even with `--quiet`.
    pub(crate) fn warn(self, text: impl AsRef<str>) {
        write_all(&mut std::io::stderr().lock(), &[text.as_ref().as_bytes(), b"\n"]);
    }

    /// Objects in the format of `--output`; more than one as a List in JSON. The table is only built if it is printed.
    pub(crate) fn objects<T: Serialize>(self, objects: &[T], table: impl FnOnce() -> Table) -> Result<()> {
        match self.output {
            OutputFormat::Json => {
                let text = if let [one] = objects {
                    serde_json::to_string_pretty(one)
                } else {
                    serde_json::to_string_pretty(
                        &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}),
                    )
                };
                self.line(text.map_err(|e| Failure::Other(format!("cannot print JSON: {e}")))?);
            }
            OutputFormat::Yaml => {
                for (i, object) in objects.iter().enumerate() {
                    if i > 0 {
                        self.line("---");
                    }
                    self.bytes(yaml(object)?.as_bytes());
                }
            }
            OutputFormat::Name => {
                for object in objects {
                    let value = serde_json::to_value(object).map_err(|e| Failure::Other(e.to_string()))?;
                    let kind = value["kind"].as_str().unwrap_or("object").to_lowercase();
                    self.line(format!("{kind}/{}", value["metadata"]["name"].as_str().unwrap_or_default()));
                }
            }
            OutputFormat::Table | OutputFormat::Wide => self.table(&table()),
        }
        Ok(())
    }

    /// Columns are aligned, three spaces apart.
    pub(crate) fn table(self, table: &Table) {
        let columns = match (self.output, table.wide_from) {
            (OutputFormat::Wide, _) | (_, None) => table.rows.first().map_or(0, Vec::len),
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

/// Safe for readers of YAML 1.1, which take `no` for a boolean.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String> {
    let mut text = serde_saphyr::to_string(value).map_err(|e| Failure::Other(format!("cannot print YAML: {e}")))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// A reader that closed the pipe (`| head`) is not our error.
fn write_all(to: &mut impl std::io::Write, parts: &[&[u8]]) {
    for part in parts {
        if to.write_all(part).is_err() {
            return;
        }
    }
    let _ = to.flush();
}
