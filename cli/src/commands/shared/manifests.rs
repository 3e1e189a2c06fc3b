//! Reads Workflows from manifests: a file, the files of a directory, standard input.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kube::Resource as _;
use ntro_crds::Workflow;
use serde_json::Value;

use crate::error::{Failure, Result};

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// `source` is `-` for standard input, a file, or a directory. `None` if it can only be the name of an object.
pub(crate) fn read_workflows(source: &str) -> Result<Option<Vec<Workflow>>> {
    let unreadable = |e: &std::io::Error| Failure::Usage(format!("cannot read `{source}`: {e}"));
    if source == "-" {
        let text = std::io::read_to_string(std::io::stdin()).map_err(|e| unreadable(&e))?;
        return at_least_one(parse(&text).map_err(|e| invalid("standard input", &e))?, "standard input");
    }
    let path = Path::new(source);
    let files = match std::fs::metadata(path) {
        // A bundle's directory often has the name of its Workflow, which is meant unless it is written as a path.
        Ok(found) if found.is_dir() && !is_path(source) => return Ok(None),
        Ok(found) if found.is_dir() => manifests(path).map_err(|e| unreadable(&e))?,
        Ok(_) => vec![path.to_owned()],
        Err(e) if e.kind() != ErrorKind::NotFound || is_path(source) => return Err(unreadable(&e)),
        Err(_) => return Ok(None),
    };
    let mut all = Vec::new();
    for file in files {
        let name = file.display();
        let text = std::fs::read_to_string(&file).map_err(|e| Failure::Usage(format!("cannot read `{name}`: {e}")))?;
        all.extend(parse(&text).map_err(|e| invalid(&name.to_string(), &e))?);
    }
    at_least_one(all, source)
}

fn invalid(name: &str, error: &str) -> Failure {
    Failure::Invalid(format!("{name}: {error}"))
}

/// No object has such a name.
fn is_path(source: &str) -> bool {
    source.contains(['/', '.'])
}

fn at_least_one(found: Vec<Workflow>, source: &str) -> Result<Option<Vec<Workflow>>> {
    if found.is_empty() { Err(Failure::Invalid(format!("no Workflow found in {source}"))) } else { Ok(Some(found)) }
}

/// The manifests directly in a directory, sorted by name.
fn manifests(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known)) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads YAML documents or JSON, also Lists; ignores other kinds.
fn parse(text: &str) -> std::result::Result<Vec<Workflow>, String> {
    // The lines after the first are an excerpt of the text.
    let first_line = |e: &str| e.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let documents = serde_saphyr::from_multiple::<Value>(text).map_err(|e| first_line(&e.to_string()))?;
    let objects = documents.into_iter().flat_map(|mut document| {
        if document["kind"] != "List" {
            return vec![document];
        }
        if let Value::Array(items) = document["items"].take() { items } else { Vec::new() }
    });
    objects.filter(is_workflow).map(workflow).collect()
}

/// Argo has a kind of the same name.
fn is_workflow(object: &Value) -> bool {
    let group = |version: &str| version.split('/').next() == Some(&*Workflow::group(&()));
    object["kind"] == "Workflow" && object["apiVersion"].as_str().is_none_or(group)
}

fn workflow(object: Value) -> std::result::Result<Workflow, String> {
    let name = object["metadata"]["name"].as_str().ok_or("a Workflow has no metadata.name")?.to_owned();
    let invalid = |e: serde_json::Error| format!("invalid Workflow `{name}`: {e}");
    let given = object["spec"].clone();
    let workflow: Workflow = serde_json::from_value(object).map_err(invalid)?;
    // Deserializing ignores unknown fields, and a misspelt one would silently be as good as absent.
    let known = serde_json::to_value(&workflow.spec).map_err(invalid)?;
    unknown_field(&given, &known, "spec")
        .map_or(Ok(workflow), |path| Err(format!("invalid Workflow `{name}`: unknown field `{path}`")))
}

/// The path of the first field of `given` that is lost in `known`, its round trip through the types.
fn unknown_field(given: &Value, known: &Value, path: &str) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            given.iter().filter(|(_, value)| !value.is_null()).find_map(|(key, value)| {
                let path = format!("{path}.{key}");
                known.get(key).map_or_else(|| Some(path.clone()), |known| unknown_field(value, known, &path))
            })
        }
        (Value::Array(given), Value::Array(known)) => {
            let pairs = given.iter().zip(known).enumerate();
            pairs.into_iter().find_map(|(i, (given, known))| unknown_field(given, known, &format!("{path}[{i}]")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;

    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!(
            "apiVersion: ntro.dev/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}}}\n\
             spec: {{runbookRef: {{name: nav}}, entity: spv1, schedule: '@daily'{rest}}}\n"
        )
    }

    fn names(found: &[Workflow]) -> Vec<String> {
        found.iter().map(kube::ResourceExt::name_any).collect()
    }

    #[test]
    fn documents_lists_and_json_are_read_and_other_kinds_are_not() {
        let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n";
        let argo = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: argo}\nspec: {entrypoint: x}\n";
        let text = format!("---\n{}---\n{other}---\n{argo}---\n{}", manifest("one", ""), manifest("two", ""));
        assert_eq!(names(&parse(&text).unwrap()), ["one", "two"]);
        let object: Value = serde_saphyr::from_str(&manifest("three", "")).unwrap();
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [object, {"kind": "Secret"}]});
        assert_eq!(names(&parse(&list.to_string()).unwrap()), ["three"]);
        assert!(parse(other).unwrap().is_empty() && parse("").unwrap().is_empty() && parse("- 1").unwrap().is_empty());
    }

    #[test]
    fn an_unknown_field_is_named() {
        let why = |rest: &str| parse(&manifest("nav", rest)).unwrap_err();
        assert_eq!(why(", timezone: UTC"), "invalid Workflow `nav`: unknown field `spec.timezone`");
        assert!(why(", calendar: {holliday: []}").ends_with("unknown field `spec.calendar.holliday`"));
        let gates = ", gatePolicy: {author: a, gates: [{step: s}, {step: t, user: [b]}]}";
        assert!(why(gates).ends_with("unknown field `spec.gatePolicy.gates[1].user`"));
        let fine = ", config: {anything: {at: [all, null], nothing: null}}, timeZone: null, nothing: null, \
                    notBefore: 2026-01-01T00:00:00Z, runTemplate: {tolerations: [{key: a, operator: Exists}], \
                    resources: {limits: {cpu: 1}}, labels: {}}";
        assert_eq!(names(&parse(&manifest("nav", fine)).unwrap()), ["nav"]);
    }

    #[test]
    fn an_error_says_where() {
        let text = parse("kind: [\nmetadata:\n  name: nav\n").unwrap_err();
        assert!(text.starts_with("line ") && !text.contains('\n'), "{text}");
        assert!(parse("kind: Workflow\nmetadata: {}\n").unwrap_err().contains("no metadata.name"));
        assert!(
            parse("kind: Workflow\nmetadata: {name: nav}\nspec: {}\n")
                .unwrap_err()
                .starts_with("invalid Workflow `nav`: ")
        );
    }

    #[test]
    fn a_directory_gives_its_manifests_by_name_and_a_name_of_the_cluster_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let all = || read_workflows(&directory.path().to_string_lossy());
        std::fs::create_dir(path("c.yaml")).unwrap();
        std::fs::write(path("notes.txt"), "kind: [").unwrap();
        assert!(all().unwrap_err().to_string().starts_with("no Workflow found in "));
        std::fs::write(path("b.json"), serde_json::to_string(&parse(&manifest("b", "")).unwrap()[0]).unwrap()).unwrap();
        std::fs::write(path("a.yml"), manifest("a", "")).unwrap();
        assert_eq!(names(&all().unwrap().unwrap()), ["a", "b"]);
        assert_eq!(read_workflows(&path("a.yml").to_string_lossy()).unwrap().unwrap()[0].name_any(), "a");
        assert!(read_workflows("no-such-thing-here").unwrap().is_none());
        assert!(read_workflows("no-such-thing-here.yaml").is_err());
    }
}
