//! Pieces of schema the derive does not give, and the last touches on the generated definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// Free-form JSON objects, kept as written: configurations and their schemas.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// Pattern of a content digest.
pub const DIGEST: &str = "^sha256:[0-9a-f]{64}$";
/// Pattern of a digest keyed with the run's key.
pub const KEYED_DIGEST: &str = "^hmac-sha256:[0-9a-f]{64}$";
/// Pattern of a UUID.
pub const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
/// Pattern of a slug: a DNS label.
pub const SLUG: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Pattern of the identifier of a step in `runbook.md`.
pub const STEP: &str = "^[A-Za-z0-9]([-_A-Za-z0-9]*[A-Za-z0-9])?$";
/// Pattern of the class of a gate, `<runbook>.<step>`: the name RBAC knows it by.
pub const CLASS: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?\\.[A-Za-z0-9]([-_A-Za-z0-9]*[A-Za-z0-9])?$";
/// Pattern of a duration such as `90s`, `5m`, `1h30m`, `14d`.
pub const DURATION: &str = "^([0-9]{1,9}(s|m|h|d))+$";

/// Schema of a free-form object.
pub fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true, "maxProperties": 64 })
}

/// Schema of the conditions of a status: one per type, bounded.
pub fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": { "type": "string", "maxLength": 63, "description": "Type of the condition: Ready, Reconciling, Stalled, …" },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "True, False or Unknown." },
                "reason": { "type": "string", "minLength": 1, "maxLength": 63, "description": "Reason in CamelCase; stable, programs may rely on it." },
                "message": { "type": "string", "maxLength": 1024, "description": "Message for people." },
                "lastTransitionTime": { "type": "string", "format": "date-time", "description": "When status last changed." },
                "observedGeneration": { "type": "integer", "format": "int64", "description": "The metadata.generation that the condition was set for." }
            }
        }
    })
}

/// Turns a derived definition into the one that is installed: nulls are not values, nothing under `spec` has a default,
/// and a status nobody has written yet says so, so that tools which wait for health do not take a new object for a healthy one.
pub fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else { continue };
        clean(root);
        let Some(properties) = root.properties.as_mut() else { continue };
        if let Some(status) = properties.get_mut("status") {
            let observed = status.properties.as_ref().is_some_and(|p| p.contains_key("observedGeneration"));
            if observed {
                status.default = Some(k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON(
                    json!({ "observedGeneration": -1 }),
                ));
            }
        }
    }
    crd
}

fn clean(schema: &mut JSONSchemaProps) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    };
    schema.nullable = None;
    schema.default = None;
    // Types of Kubernetes bound nothing; what they mean is no longer than a name.
    if schema.type_.as_deref() == Some("string")
        && schema.enum_.is_none()
        && schema.max_length.is_none()
        && schema.format.as_deref() != Some("date-time")
    {
        schema.max_length = Some(253);
    }
    // Formats other than these are unknown to the API server and only make it warn.
    if schema.format.as_deref().is_some_and(|f| !matches!(f, "int32" | "int64" | "date-time")) {
        schema.format = None;
    }
    for child in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        clean(child);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        clean(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        clean(values);
    }
}
