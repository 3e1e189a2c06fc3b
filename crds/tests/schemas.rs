//! What holds for the schemas of all kinds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption is a failed test")]

use serde_json::Value;

/// Calls `visit` with the path of every schema below `schema`.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), child, visit);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&format!("{path}{mark}"), &schema[key], visit);
        }
    }
}

fn schemas(mut visit: impl FnMut(&str, &Value)) {
    for crd in ntro_crds::all() {
        let crd = serde_json::to_value(crd).unwrap();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        walk(kind, &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut visit);
    }
}

#[test]
fn everything_is_bounded() {
    schemas(|path, schema| match schema["type"].as_str() {
        Some("string") => assert!(
            schema["maxLength"].is_u64() || schema["enum"].is_array() || schema["format"] == "date-time",
            "{path} has no maxLength"
        ),
        Some("array") => assert!(schema["maxItems"].is_u64(), "{path} has no maxItems"),
        Some("object") if schema["properties"].is_null() => {
            assert!(schema["maxProperties"].is_u64() || path.ends_with(".metadata"), "{path} has no maxProperties");
        }
        _ => {}
    });
}

#[test]
fn every_field_is_documented() {
    schemas(|path, schema| {
        let part_of_a_list = path.ends_with("[]") || path.ends_with("{}");
        let documented = schema["description"].as_str().is_some_and(|text| text.len() > 3);
        assert!(documented || part_of_a_list || path.ends_with(".metadata"), "{path} has no description");
    });
}

#[test]
fn specs_have_no_defaults_and_nothing_is_null() {
    schemas(|path, schema| {
        assert!(schema["nullable"].is_null(), "{path} admits null");
        let status = path.split_once('.').is_some_and(|(_, rest)| rest == "status");
        assert_eq!(schema["default"].is_null(), !status, "default of {path}");
    });
}

#[test]
fn definitions_fit_the_annotation_of_client_side_apply() {
    for crd in ntro_crds::all() {
        assert!(serde_json::to_vec(&crd).unwrap().len() < 200 * 1024);
    }
}
