//! The configuration schema of a runbook, and the check of a configuration against it.
//!
//! In `runbook.md`, `config_schema.global` lists fields of the configuration and `config_schema.steps.<step>` lists fields
//! of `steps.<step>` in it. A field has `type`, `description`, `pattern`, `enum`, `default` and other JSON Schema
//! keywords; a field without `default` is required unless it says `required: false`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::finding::one_line;

/// Keywords of fields that are not JSON Schema but may be written; they are for user interfaces.
const UI_KEYS: &[&str] = &["label", "title", "component", "placeholder", "order", "group", "help"];
const TYPES: &[&str] = &["string", "number", "integer", "boolean", "array", "object", "null"];
/// JSON Schema keywords that would make a schema depend on another document.
const REFERENCE_KEYS: &[&str] = &["$ref", "$dynamicRef", "$schema", "$id", "$anchor", "$dynamicAnchor"];
/// Longest value quoted in a message, in characters.
const MAX_QUOTED: usize = 60;

/// The fields of a configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigSchema {
    global: Fields,
    steps: BTreeMap<String, Fields>,
    mapped: bool,
}

type Fields = BTreeMap<String, ConfigField>;

#[derive(Debug, Clone)]
struct ConfigField {
    schema: Map<String, Value>,
    /// Of the schema; kept because making one costs far more than using it.
    validator: Arc<jsonschema::Validator>,
    default: Option<Value>,
    required: bool,
}

impl PartialEq for ConfigField {
    fn eq(&self, other: &Self) -> bool {
        (&self.schema, &self.default, self.required) == (&other.schema, &other.default, other.required)
    }
}

/// An invalid field of the schema or of a configuration. Prints as one line that starts with the field's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `config_schema` or `config`.
    root: &'static str,
    /// Path of the field below the root.
    pub path: Vec<String>,
    /// What is wrong, as the end of a sentence.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root)?;
        for key in &self.path {
            write!(f, ".{}", one_line(key))?;
        }
        write!(f, ": {}", one_line(&self.message))
    }
}

impl std::error::Error for FieldError {}

impl ConfigSchema {
    /// Reads the schema as written in `runbook.md`, collecting every error.
    pub fn parse(raw: &Value) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut schema = Self::default();
        if let Some(top) = as_object(raw, &[], &mut errors) {
            schema.mapped = top.contains_key("global") || top.contains_key("steps");
            if let Some(fields) = top.get("global").filter(|fields| !fields.is_null()) {
                schema.global = parse_fields(fields, &["global"], &mut errors);
                if schema.global.contains_key("steps") {
                    let message = "`steps` cannot be a field: it holds the configuration of steps";
                    errors.push(schema_error(&["global", "steps"], message));
                }
            }
            if let Some(steps) = top.get("steps").filter(|steps| !steps.is_null())
                && let Some(steps) = as_object(steps, &["steps"], &mut errors)
            {
                for (step, fields) in steps.iter().filter(|(_, fields)| !fields.is_null()) {
                    schema.steps.insert(step.clone(), parse_fields(fields, &["steps", step], &mut errors));
                }
            }
        }
        if errors.is_empty() { Ok(schema) } else { Err(errors) }
    }

    /// Whether the schema describes anything in the known form.
    pub fn is_mapped(&self) -> bool {
        self.mapped
    }

    /// Steps with fields of their own.
    pub fn step_ids(&self) -> impl Iterator<Item = &str> {
        self.steps.keys().map(String::as_str)
    }

    /// The schema as JSON Schema 2020-12 of a whole configuration.
    pub fn json_schema(&self) -> Value {
        let mut schema = object_schema(&self.global, &|_| false);
        let steps: Map<String, Value> =
            self.steps.iter().map(|(step, fields)| (step.clone(), object_schema(fields, &|_| false).into())).collect();
        if !steps.is_empty() {
            let required: Vec<&String> =
                self.steps.iter().filter(|(_, fields)| fields.values().any(|f| f.required)).map(|(s, _)| s).collect();
            let mut object = json!({"type": "object", "properties": steps, "additionalProperties": false});
            if !required.is_empty() {
                object["required"] = json!(required);
                push_to(&mut schema, "required", json!("steps"));
            }
            if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
                properties.insert("steps".to_owned(), object);
            }
        }
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.into()
    }

    /// Checks a configuration and returns it with defaults merged.
    ///
    /// `supplied` names the global fields that each run sets itself, such as `period`: they may be absent here.
    pub fn check(&self, config: &Value, supplied: &[&str]) -> Result<Value, Vec<FieldError>> {
        let mut merged = self.with_defaults(config, |name| supplied.contains(&name))?;
        let mut errors = Vec::new();
        let Some(top) = merged.as_object_mut() else { return Ok(merged) };
        let steps = top.remove("steps");
        // Without a single declared field the author leaves the configuration open.
        let open = !self.mapped;
        validate_object(&self.global, top, &[], open, &|name| supplied.contains(&name), &mut errors);
        match steps {
            None => {}
            Some(Value::Object(steps)) => {
                for (step, value) in &steps {
                    let path = ["steps".to_owned(), step.clone()];
                    match (self.steps.get(step), value) {
                        (Some(fields), Value::Object(values)) => {
                            validate_object(fields, values, &path, open, &|_| false, &mut errors);
                        }
                        (None, _) if !open => errors.push(config_error(&path, "is not a step with configuration")),
                        (None, _) => {}
                        (Some(_), _) => errors.push(config_error(&path, "must be an object")),
                    }
                }
                top.insert("steps".to_owned(), Value::Object(steps));
            }
            Some(other) if open => {
                top.insert("steps".to_owned(), other);
            }
            Some(_) => errors.push(config_error(&["steps".to_owned()], "must be an object")),
        }
        if errors.is_empty() { Ok(merged) } else { Err(errors) }
    }

    /// The input of one run: the context laid over the configuration, defaults beneath, all declared fields checked.
    /// Keys of the context that the schema does not declare pass through.
    pub fn resolve(&self, config: &Value, context: &Value) -> Result<Value, Vec<FieldError>> {
        let empty = Map::new();
        let context = context.as_object().unwrap_or(&empty);
        let supplied: Vec<&str> = context.keys().map(String::as_str).collect();
        let mut base = config.clone();
        let mut undeclared = Map::new();
        if base.is_null() {
            base = json!({});
        }
        if let Some(base) = base.as_object_mut() {
            for (key, value) in context {
                if self.global.contains_key(key) {
                    base.insert(key.clone(), value.clone());
                } else {
                    undeclared.insert(key.clone(), value.clone());
                }
            }
        }
        let mut input = self.check(&base, &supplied)?;
        if let Some(input) = input.as_object_mut() {
            input.extend(undeclared);
        }
        Ok(input)
    }

    fn with_defaults(&self, config: &Value, supplied: impl Fn(&str) -> bool) -> Result<Value, Vec<FieldError>> {
        let mut merged = match config {
            Value::Null => Map::new(),
            Value::Object(config) => config.clone(),
            _ => return Err(vec![config_error(&[], "must be an object")]),
        };
        add_defaults(&self.global, &mut merged, supplied);
        for (step, fields) in &self.steps {
            let wanted = fields.values().any(|field| field.default.is_some() || field.required);
            let has_step = merged.get("steps").is_none_or(Value::is_object);
            if wanted && has_step {
                let steps = merged.entry("steps").or_insert_with(|| json!({}));
                let values = steps.as_object_mut().map(|steps| steps.entry(step).or_insert_with(|| json!({})));
                if let Some(Value::Object(values)) = values {
                    add_defaults(fields, values, |_| false);
                }
            }
        }
        Ok(Value::Object(merged))
    }
}

fn add_defaults(fields: &Fields, values: &mut Map<String, Value>, supplied: impl Fn(&str) -> bool) {
    for (name, field) in fields.iter().filter(|(name, _)| !supplied(name)) {
        if let Some(default) = &field.default {
            values.entry(name.clone()).or_insert_with(|| default.clone());
        }
    }
}

fn parse_fields(raw: &Value, path: &[&str], errors: &mut Vec<FieldError>) -> Fields {
    let Some(raw) = as_object(raw, path, errors) else { return Fields::new() };
    let mut fields = Fields::new();
    for (name, definition) in raw {
        let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        if let Some(field) = parse_field(definition, &path, errors) {
            fields.insert(name.clone(), field);
        }
    }
    fields
}

fn parse_field(raw: &Value, path: &[&str], errors: &mut Vec<FieldError>) -> Option<ConfigField> {
    let mut schema = as_object(raw, path, errors)?.clone();
    let before = errors.len();
    if let Some(key) = REFERENCE_KEYS.iter().find(|key| contains_key(raw, key)) {
        errors.push(schema_error(path, &format!("`{key}` is not supported")));
    }
    schema.retain(|key, _| !UI_KEYS.contains(&key.as_str()));
    let explicit = match schema.get("required") {
        Some(Value::Bool(required)) => Some(*required),
        _ => None,
    };
    if explicit.is_some() {
        schema.remove("required");
    }
    match schema.get("type") {
        None => errors.push(schema_error(path, "has no `type`")),
        Some(kind) if !is_type(kind) => {
            let message = format!("type {} must be one of {}", quoted(kind), TYPES.join(", "));
            errors.push(schema_error(path, &message));
        }
        Some(_) => {}
    }
    if errors.len() > before {
        return None;
    }
    let validator = compile(&schema).map_err(|message| errors.push(schema_error(path, &message))).ok()?;
    let default = schema.get("default").cloned();
    if let Some(error) = default.as_ref().and_then(|default| validator.iter_errors(default).next()) {
        errors.push(schema_error(path, &format!("default {}", explain(&error))));
    }
    let required = explicit.unwrap_or(true) && default.is_none();
    Some(ConfigField { schema, validator: Arc::new(validator), default, required })
}

fn is_type(kind: &Value) -> bool {
    let known = |kind: &Value| kind.as_str().is_some_and(|kind| TYPES.contains(&kind));
    known(kind) || kind.as_array().is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(known))
}

fn contains_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(entries) => entries.iter().any(|(k, v)| k == key || contains_key(v, key)),
        Value::Array(items) => items.iter().any(|item| contains_key(item, key)),
        _ => false,
    }
}

fn compile(schema: &Map<String, Value>) -> Result<jsonschema::Validator, String> {
    jsonschema::draft202012::options()
        .build(&Value::Object(schema.clone()))
        .map_err(|error| format!("invalid JSON Schema: {error}"))
}

fn object_schema(fields: &Fields, supplied: &dyn Fn(&str) -> bool) -> Map<String, Value> {
    let properties: Map<String, Value> =
        fields.iter().map(|(name, field)| (name.clone(), Value::Object(field.schema.clone()))).collect();
    let required: Vec<&String> =
        fields.iter().filter(|(name, field)| field.required && !supplied(name)).map(|(name, _)| name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), properties.into());
    schema.insert("additionalProperties".to_owned(), json!(false));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

fn push_to(schema: &mut Map<String, Value>, key: &str, value: Value) {
    if let Some(list) = schema.entry(key).or_insert_with(|| json!([])).as_array_mut() {
        list.push(value);
    }
}

/// Validates field by field, so that every message can name its field.
fn validate_object(
    fields: &Fields,
    values: &Map<String, Value>,
    path: &[String],
    open: bool,
    supplied: &dyn Fn(&str) -> bool,
    errors: &mut Vec<FieldError>,
) {
    let at = |name: &str| -> Vec<String> { path.iter().cloned().chain([name.to_owned()]).collect() };
    for (name, field) in fields {
        match values.get(name) {
            None if field.required && !supplied(name) => errors.push(config_error(&at(name), "is required")),
            None => {}
            Some(value) => validate_field(field, value, &at(name), errors),
        }
    }
    if open {
        return;
    }
    let known: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    for name in values.keys().filter(|name| !known.contains(name.as_str())) {
        let message = if known.is_empty() {
            "unknown field, none is declared here".to_owned()
        } else {
            format!("unknown field, expected one of {}", known.iter().copied().collect::<Vec<_>>().join(", "))
        };
        errors.push(config_error(&at(name), &message));
    }
}

fn validate_field(field: &ConfigField, value: &Value, path: &[String], errors: &mut Vec<FieldError>) {
    for error in field.validator.iter_errors(value) {
        let pointer = error.instance_path().to_string();
        let below = pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~"));
        let path: Vec<String> = path.iter().cloned().chain(below).collect();
        errors.push(config_error(&path, &explain(&error)));
    }
}

/// The validator's message with long values cut out.
fn explain(error: &jsonschema::ValidationError<'_>) -> String {
    let value = error.instance().to_string();
    if value.chars().count() > MAX_QUOTED { error.masked().to_string() } else { error.to_string() }
}

fn quoted(value: &Value) -> String {
    value.to_string().chars().take(MAX_QUOTED).collect()
}

fn as_object<'v>(value: &'v Value, path: &[&str], errors: &mut Vec<FieldError>) -> Option<&'v Map<String, Value>> {
    let object = value.as_object();
    if object.is_none() {
        errors.push(schema_error(path, "must be a mapping"));
    }
    object
}

fn schema_error(path: &[&str], message: &str) -> FieldError {
    let path = path.iter().map(|key| (*key).to_owned()).collect();
    FieldError { root: "config_schema", path, message: message.to_owned() }
}

fn config_error(path: &[String], message: &str) -> FieldError {
    FieldError { root: "config", path: path.to_vec(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> ConfigSchema {
        ConfigSchema::parse(&json!({
            "global": {
                "period": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$", "description": "month"},
                "currency": {"type": "string", "enum": ["GBP", "EUR"], "default": "GBP"},
                "fee_rate": {"type": "number", "default": 0.05, "label": "Fee"},
                "gl": {"type": "object", "required": ["bank"], "properties": {"bank": {"type": "string"}}},
                "note": {"type": "string", "required": false},
            },
            "steps": {"review": {"threshold": {"type": "integer", "default": 7}}},
        }))
        .unwrap()
    }

    fn lines(result: Result<Value, Vec<FieldError>>) -> Vec<String> {
        result.unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_are_merged_below_what_is_given() {
        let config = json!({"period": "2026-10", "fee_rate": 0.1, "gl": {"bank": "1200"}});
        assert_eq!(
            schema().check(&config, &[]).unwrap(),
            json!({"period": "2026-10", "currency": "GBP", "fee_rate": 0.1, "gl": {"bank": "1200"},
                   "steps": {"review": {"threshold": 7}}})
        );
        let config = json!({"gl": {"bank": "1200"}, "steps": {"review": {"threshold": 3}}});
        let merged = schema().check(&config, &["period"]).unwrap();
        assert_eq!(merged["steps"]["review"]["threshold"], 3);
        assert_eq!(merged.get("period"), None);
    }

    #[test]
    fn every_violation_is_one_line_that_names_its_field() {
        let config = json!({"period": "2026-1", "currency": "USD", "gl": {"bank": 1200}, "perod": "x",
                            "steps": {"review": {"threshold": "many"}, "other": {}}});
        insta::assert_snapshot!(lines(schema().check(&config, &[])).join("\n"), @r#"
config.currency: "USD" is not one of "GBP" or "EUR"
config.gl.bank: 1200 is not of type "string"
config.period: "2026-1" does not match "^[0-9]{4}-[0-9]{2}$"
config.perod: unknown field, expected one of currency, fee_rate, gl, note, period
config.steps.other: is not a step with configuration
config.steps.review.threshold: "many" is not of type "integer"
"#);
        insta::assert_snapshot!(lines(schema().check(&json!({}), &[])).join("\n"), @r#"
config.gl: is required
config.period: is required
"#);
        insta::assert_snapshot!(lines(schema().check(&json!([1]), &[])).join("\n"), @r#"config: must be an object"#);
    }

    #[test]
    fn long_values_are_not_quoted() {
        let secret = "s".repeat(500);
        let config = json!({"period": secret, "gl": {"bank": "1"}});
        let lines = lines(schema().check(&config, &[]));
        assert!(lines.len() == 1 && !lines[0].contains("sss") && lines[0].starts_with("config.period: "), "{lines:?}");
    }

    #[test]
    fn a_run_lays_its_context_over_the_configuration() {
        let config = json!({"period": "2026-09", "gl": {"bank": "1200"}});
        let input = schema().resolve(&config, &json!({"period": "2026-10", "tenant_slug": "acme"})).unwrap();
        assert_eq!((&input["period"], &input["tenant_slug"]), (&json!("2026-10"), &json!("acme")));
        let errors = lines(schema().resolve(&config, &json!({"period": "October"})));
        assert!(errors[0].starts_with("config.period: "), "{errors:?}");
    }

    #[test]
    fn json_schema_describes_the_whole_configuration() {
        let schema = schema().json_schema();
        assert!(jsonschema::draft202012::meta::is_valid(&schema));
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        assert!(validator.is_valid(&json!({"period": "2026-10", "gl": {"bank": "1200"}})));
        assert!(!validator.is_valid(&json!({"gl": {"bank": "1200"}})));
        assert!(!validator.is_valid(&json!({"period": "2026-10", "gl": {"bank": "1200"}, "x": 1})));
    }

    #[test]
    fn wrong_schemas_are_refused_naming_the_field() {
        let errors = ConfigSchema::parse(&json!({
            "global": {
                "a": {"type": "text"},
                "b": "string",
                "c": {"type": "string", "pattern": "("},
                "d": {"type": "integer", "default": "x"},
                "e": {"type": "object", "properties": {"x": {"$ref": "https://example.com/s"}}},
                "f": {"description": "no type"},
                "steps": {"type": "string"},
            },
            "steps": [1],
        }))
        .unwrap_err();
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
config_schema.global.a: type "text" must be one of string, number, integer, boolean, array, object, null
config_schema.global.b: must be a mapping
config_schema.global.c: invalid JSON Schema: "(" is not a "regex"
config_schema.global.d: default "x" is not of type "integer"
config_schema.global.e: `$ref` is not supported
config_schema.global.f: has no `type`
config_schema.global.steps: `steps` cannot be a field: it holds the configuration of steps
config_schema.steps: must be a mapping
"#);
    }

    #[test]
    fn without_declared_fields_anything_goes() {
        let schema = ConfigSchema::parse(&json!({})).unwrap();
        assert!(!schema.is_mapped());
        let config = json!({"anything": [1], "steps": 3});
        assert_eq!(schema.check(&config, &[]).unwrap(), config);
    }
}
