//! The entries as a table for people and as tables for the runtime, read from the types themselves.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::entries::{EntryBody, EntryClass, PodEntry};

/// A type of entry.
struct EntryType {
    name: String,
    class: EntryClass,
    /// Who may write it.
    by: &'static str,
    fields: Vec<EntryField>,
    /// What it says, in a sentence.
    meaning: String,
}

struct EntryField {
    name: String,
    schema: Value,
    optional: bool,
    /// The operator adds it to what a pod said.
    stamped: bool,
    /// On replay it need not be what the journal has.
    may_differ: bool,
}

impl EntryField {
    /// True if it stands in the runtime's table of what a replay must repeat. Payloads are compared apart, and so are the
    /// number of a command and what it has seen.
    fn is_compared(&self) -> bool {
        let apart = self.is_payload() || matches!(self.name.as_str(), "command" | "seenUpto");
        !(apart || self.stamped || self.may_differ)
    }

    fn is_payload(&self) -> bool {
        self.schema.to_string().contains("\"inline\"")
    }

    /// `name?`, `name[]`, `name: one|of`.
    fn text(&self) -> String {
        let optional = if self.optional { "?" } else { "" };
        let of = if self.is_payload() { " (payload)".to_owned() } else { shape(&self.schema, true) };
        format!("`{}{optional}`{of}", self.name)
    }
}

/// What stands behind a field's name.
fn shape(schema: &Value, outer: bool) -> String {
    let words: Vec<_> = variants(schema).iter().filter_map(|it| it["const"].as_str()).map(str::to_owned).collect();
    let listed: Vec<_> = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let open = if outer { ": " } else { "" };
    if !words.is_empty() {
        return format!("{open}{}", words.join("\\|"));
    }
    let there: Vec<_> = variants(schema).into_iter().filter(|it| it["type"] != "null").collect();
    if let [only] = there.as_slice() {
        return shape(only, outer);
    }
    if !listed.is_empty() {
        return format!("{open}{}", listed.join("\\|"));
    }
    if schema["items"].is_object() {
        let inner = shape(&schema["items"], false);
        return if inner.is_empty() { " (list)".to_owned() } else { format!(" (list of {inner})") };
    }
    match schema["properties"].as_object() {
        Some(fields) => {
            let names: Vec<_> = fields.keys().map(String::as_str).collect();
            let fields = format!("{{{}}}", names.join(", "));
            if outer { format!(" {fields}") } else { fields }
        }
        None => String::new(),
    }
}

fn variants(schema: &Value) -> Vec<Value> {
    let of = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
    [of("oneOf"), of("anyOf")].concat()
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The schemas of an enum's variants by their `type`.
fn by_type(schema: &Value) -> BTreeMap<String, Value> {
    let named = |variant: Value| Some((variant["properties"]["type"]["const"].as_str()?.to_owned(), variant));
    variants(schema).into_iter().filter_map(named).collect()
}

/// Some value of a schema.
fn sample(schema: &Value) -> Value {
    if !schema["const"].is_null() {
        return schema["const"].clone();
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    if let Some(first) = variants(schema).first() {
        return sample(first);
    }
    if schema["format"] == "uuid" {
        return json!("00000000-0000-0000-0000-000000000000");
    }
    match schema["type"].as_str() {
        Some("object") => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let names = required.iter().filter_map(Value::as_str);
            names.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect::<Map<_, _>>().into()
        }
        Some("array") => json!([]),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(false),
        // Every text of an entry that has a form is a time.
        _ => json!("2026-01-01T00:00:00.000000Z"),
    }
}

fn entry_types() -> Vec<EntryType> {
    let (all, pod) = (schema_of::<EntryBody>(), by_type(&schema_of::<PodEntry>()));
    let order =
        variants(&all).into_iter().filter_map(|it| it["properties"]["type"]["const"].as_str().map(str::to_owned));
    let all = by_type(&all);
    let known = |name: String| {
        let schema = &all[&name];
        let class = serde_json::from_value::<EntryBody>(with_pod_entry(sample(schema), &pod)).ok()?.class();
        let said = pod.get(&name);
        Some(EntryType {
            by: match (said.is_some(), name.as_str()) {
                (true, "released" | "blocked") => "P or O",
                (true, _) => "P",
                (false, _) => "O",
            },
            fields: fields(schema, said),
            meaning: schema["description"]
                .as_str()
                .unwrap_or_default()
                .replace('\n', " ")
                .replace("[`", "`")
                .replace("`]", "`"),
            name,
            class,
        })
    };
    order.filter_map(known).collect()
}

/// A late completion holds an entry of a pod, which a sample has to be given.
fn with_pod_entry(mut sample_entry: Value, pod: &BTreeMap<String, Value>) -> Value {
    if sample_entry["entry"].is_object()
        && let Some(completed) = pod.get("activityCompleted")
    {
        sample_entry["entry"] = sample(completed);
    }
    sample_entry
}

fn fields(schema: &Value, said: Option<&Value>) -> Vec<EntryField> {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let mut fields: Vec<_> = properties
        .into_iter()
        .filter(|(name, _)| name != "type")
        .map(|(name, schema)| EntryField {
            optional: !required.contains(&name.as_str()),
            stamped: said.is_some_and(|said| said["properties"][&name].is_null()),
            may_differ: schema["x-may-differ"] == true,
            name,
            schema,
        })
        .collect();
    // What every command has, and what an entry is about, come first.
    let first = ["command", "seenUpto", "target", "attempt", "segment", "epoch"];
    fields.sort_by_key(|field| {
        let place = first.iter().position(|name| *name == field.name).unwrap_or(first.len());
        (field.stamped, place, field.name.clone())
    });
    fields
}

/// The rows of the table in `docs/protocol.md`.
pub fn table() -> String {
    let mut text = String::from("| type | class, by | fields | says |\n|---|---|---|---|\n");
    for it in entry_types() {
        let class = match it.class {
            EntryClass::Record => "R",
            EntryClass::Command(_) => "C",
            EntryClass::Delivery => "D",
        };
        let list = |stamped: bool| {
            let fields = it.fields.iter().filter(|field| field.stamped == stamped);
            fields.map(EntryField::text).collect::<Vec<_>>().join(", ")
        };
        let stamped = list(true);
        let stamped = if stamped.is_empty() { stamped } else { format!("; stamped {stamped}") };
        let row = format!("| `{}` | {class}, {} | {}{stamped} | {} |\n", it.name, it.by, list(false), it.meaning);
        text.push_str(&row);
    }
    text
}

/// The tables of the runtime, as Python.
pub fn python() -> String {
    let types = entry_types();
    let set = |name: &str, doc: &str, which: &dyn Fn(&EntryType) -> bool| {
        let names: Vec<_> =
            types.iter().filter(|it| which(it)).map(|it| format!("        \"{}\",\n", it.name)).collect();
        format!("{name} = frozenset(\n    [\n{}    ]\n)\n\"\"\"{doc}\"\"\"\n", names.concat())
    };
    let tuple = |names: &[&str]| match names {
        [] => "()".to_owned(),
        [one] => format!("(\"{one}\",)"),
        _ => format!("(\"{}\")", names.join("\", \"")),
    };
    let map = |name: &str, doc: &str, which: &dyn Fn(&EntryType) -> bool, fields: &dyn Fn(&EntryField) -> bool| {
        let row = |it: &EntryType| {
            let names: Vec<_> =
                it.fields.iter().filter(|field| fields(field)).map(|field| field.name.as_str()).collect();
            format!("    \"{}\": {},\n", it.name, tuple(&names))
        };
        let rows: String = types.iter().filter(|it| which(it)).map(row).collect();
        format!("{name}: dict[str, tuple[str, ...]] = {{\n{rows}}}\n\"\"\"{doc}\"\"\"\n")
    };
    let command = |it: &EntryType| matches!(it.class, EntryClass::Command(_));
    let parts = [
        "from __future__ import annotations\n".to_owned(),
        set("RECORDS", "Facts for people and the machine.", &|it| it.class == EntryClass::Record),
        set("DELIVERIES", "What workflow code is told, in `seq` order.", &|it| it.class == EntryClass::Delivery),
        map("COMMANDS", "What workflow code did, with the fields that a replay must repeat.", &command, &|field| {
            field.is_compared()
        }),
        map(
            "PAYLOADS",
            "The fields of commands and deliveries that are payloads.",
            &|it| it.class != EntryClass::Record,
            &|field| field.is_payload(),
        ),
    ];
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::protocol::entry::STAMPED;

    #[test]
    fn every_entry_is_in_the_table_with_its_class() {
        let (types, all) = (entry_types(), by_type(&schema_of::<EntryBody>()));
        assert_eq!(types.len(), all.len());
        let of = |name: &str| types.iter().find(|it| it.name == name).unwrap();
        let opened = of("gateOpened");
        assert!(matches!(opened.class, EntryClass::Command(_)) && opened.by == "P");
        let stamped: Vec<_> =
            opened.fields.iter().filter(|field| field.stamped).map(|field| field.name.as_str()).collect();
        assert_eq!(stamped, ["due", "gateId", "revision"]);
        assert_eq!((of("timerFired").class, of("timerFired").by), (EntryClass::Delivery, "O"));
        assert_eq!(of("released").by, "P or O");
    }

    #[test]
    fn what_is_stamped_is_left_out_of_what_was_said() {
        let types = entry_types();
        let of_pods = || types.iter().filter(|it| it.by != "O").flat_map(|it| &it.fields);
        let stamped: BTreeSet<_> = of_pods().filter(|field| field.stamped).map(|field| field.name.as_str()).collect();
        assert_eq!(stamped, BTreeSet::from(STAMPED));
        let said: BTreeSet<_> = of_pods().filter(|field| !field.stamped).map(|field| field.name.as_str()).collect();
        assert!(said.is_disjoint(&stamped), "a field that pods say and the operator stamps elsewhere: {said:?}");
    }

    #[test]
    fn every_type_says_what_it_is_for() {
        for it in entry_types() {
            assert!(it.meaning.ends_with('.'), "{}: {:?}", it.name, it.meaning);
        }
    }
}
