//! The ids of the steps that a `runbook.md` declares, and nothing else of it.

use std::collections::BTreeSet;

use serde_json::Value;
use thiserror::Error;

use crate::frontmatter;

/// Why there is no frontmatter to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum StepsError {
    #[error("runbook.md does not begin with frontmatter")]
    NoFrontmatter,
    #[error("the frontmatter of runbook.md is not YAML")]
    NotYaml,
}

/// Reads the ids. What else is wrong with the file is not looked at: it was checked when it was packed and when it was
/// resolved.
pub fn step_ids(runbook_md: &str) -> Result<BTreeSet<String>, StepsError> {
    let split = frontmatter::split(runbook_md).map_err(|_| StepsError::NoFrontmatter)?;
    let front: Value = serde_saphyr::from_str(split.yaml).map_err(|_| StepsError::NotYaml)?;
    if !front.is_object() {
        return Err(StepsError::NoFrontmatter);
    }
    let steps = front.get("steps").and_then(Value::as_array);
    let id = |step: &Value| step.get("id").and_then(Value::as_str).map(str::to_owned);
    Ok(steps.into_iter().flatten().filter_map(id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_ids_and_passes_over_the_rest() {
        let text = "---\nslug: x\nsteps: [{id: one}, {id: two, title: T}, {id: 3}, four]\n---\nBody\n";
        assert_eq!(step_ids(text).unwrap(), BTreeSet::from(["one".to_owned(), "two".to_owned()]));
        assert!(step_ids("---\nslug: x\n---\n").unwrap().is_empty());
        assert!(step_ids("---\nsteps: 7\n---\n").unwrap().is_empty());
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(step_ids("# Title\n"), Err(StepsError::NoFrontmatter));
        assert_eq!(step_ids("---\n- a\n---\n"), Err(StepsError::NoFrontmatter));
        assert_eq!(step_ids("---\na: [\n---\n"), Err(StepsError::NotYaml));
    }
}
