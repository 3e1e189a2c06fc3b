//! The one text form of a JSON value that is hashed and compared.

use serde_json::Value;

/// What may not stand in a journal, because it has more than one text form or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPlain {
    /// `null` stands nowhere: an absent field is absent.
    #[error("null is not allowed")]
    Null,
    /// A number that is no integer of 64 bits.
    #[error("numbers must be integers of 64 bits")]
    Float,
}

/// Refuses what a journal entry may not hold, at any depth.
pub fn check_plain(value: &Value) -> Result<(), NotPlain> {
    match value {
        Value::Null => Err(NotPlain::Null),
        Value::Number(number) if number.as_i64().is_none() => Err(NotPlain::Float),
        Value::Array(items) => items.iter().try_for_each(check_plain),
        Value::Object(fields) => fields.values().try_for_each(check_plain),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// The canonical JSON text of `value`: keys sorted by code point, no white space, UTF-8, and no escape but those JSON
/// demands (`\"`, `\\`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u00xx` in lower case).
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            // The map may keep the order of insertion: another crate of the build can switch that on.
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (index, (key, item)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
        // The text of a scalar is already canonical.
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{NotPlain, canonical, check_plain};

    #[test]
    fn keys_are_sorted_at_every_depth_and_strings_are_not_ascii_escaped() {
        let value = json!({"b": [1, {"z": true, "a": "é\n\u{1}\u{7f}\"\\"}], "a": -3});
        assert_eq!(canonical(&value), "{\"a\":-3,\"b\":[1,{\"a\":\"é\\n\\u0001\u{7f}\\\"\\\\\",\"z\":true}]}");
    }

    #[test]
    fn floats_and_nulls_are_refused_at_any_depth() {
        assert_eq!(check_plain(&json!({"a": [1, {"b": null}]})), Err(NotPlain::Null));
        assert_eq!(check_plain(&json!([[0.5]])), Err(NotPlain::Float));
        assert_eq!(check_plain(&json!(u64::MAX)), Err(NotPlain::Float));
        assert_eq!(check_plain(&json!({"a": [1, "x", true, {}]})), Ok(()));
    }
}
