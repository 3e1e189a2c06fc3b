use super::*;

const MINIMAL: &str = "slug: nav-monthly\nname: NAV\nversion: 1.0.0\nstate: DRAFT\nauthor: Us\n";

fn parse(yaml: &str) -> Parsed {
    RunbookManifest::parse(&format!("---\n{yaml}---\nBody\n"))
}

fn good(yaml: &str) -> RunbookManifest {
    let parsed = parse(yaml);
    assert_eq!(parsed.findings, []);
    parsed.manifest.unwrap()
}

/// The findings of the minimal frontmatter with more lines after it.
fn lines(more: &str) -> String {
    let parsed = parse(&format!("{MINIMAL}{more}"));
    assert_eq!(parsed.manifest.is_none(), parsed.findings.iter().any(Finding::is_error));
    parsed.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_required_fields_are_enough() {
    let manifest = good(MINIMAL);
    assert_eq!((manifest.id.as_str(), manifest.body.as_str()), ("rb-nav-monthly", "Body\n"));
    assert_eq!(manifest.workflow_class(), "NavMonthlyWorkflow");
    assert_eq!(manifest.config_schema_digest(), None);
}

#[test]
fn everything_is_read_in_either_spelling() {
    let manifest = good(&format!(
        "{MINIMAL}id: rb-x\ndescription: |\n  Two\n  lines\nclassification: REAL_ESTATE_OPS\nvisibility: public\n\
         tags: [nav]\njurisdictions: [any]\noutputs: [nav-pack.xlsx, out/summary.json]\n\
         steps:\n- {{id: load, label: Load files, activity: nav.load, effect: none, timeout_minutes: 5}}\n\
         - {{id: review, title: Review, component: DATA_TABLE, responsibility: accountant, config: {{rows: 3}}}}\n- id: post\n\
         activities:\n  nav.post: {{requires: review, effect: external}}\n\
         templates:\n- {{path: templates/workflow.py, description: flow, language: python}}\n\
         configSchema: {{global: {{period: {{type: string}}}}}}\n"
    ));
    let titles: Vec<_> = manifest.steps.iter().map(|step| step.title.as_str()).collect();
    assert_eq!(titles, ["Load files", "Review", "post"]);
    assert_eq!(manifest.steps[0].timeout_minutes, Some(5));
    assert_eq!(manifest.steps[1].config, Some(serde_json::json!({"rows": 3})));
    let policy = |requires: Option<&str>, effect| ManifestActivity { requires: requires.map(str::to_owned), effect };
    assert_eq!(
        manifest.activities,
        BTreeMap::from([
            ("nav.load".to_owned(), policy(None, Some(ManifestEffect::None))),
            ("nav.post".to_owned(), policy(Some("review"), Some(ManifestEffect::External))),
        ])
    );
    assert_eq!(manifest.outputs, ["nav-pack.xlsx", "out/summary.json"]);
    for (text, told) in [("", false), ("handles_cancel: true\n", true), ("handlesCancel: true\n", true)] {
        assert_eq!(good(&format!("{MINIMAL}{text}")).handles_cancel, told, "{text}");
    }
    let snake = good(&format!("{MINIMAL}config_schema: {{global: {{period: {{type: string}}}}}}\n"));
    assert_eq!(manifest.config_schema, snake.config_schema);
    assert!(snake.config_schema_digest().is_some());
    let json = serde_json::to_value(&manifest).unwrap();
    assert_eq!(json["activities"]["nav.post"], serde_json::json!({"requires": "review", "effect": "external"}));
    let back: RunbookManifest = serde_json::from_value(json).unwrap();
    assert_eq!(back, RunbookManifest { body: String::new(), ..manifest });
}

#[test]
fn findings_name_the_line_of_the_file() {
    insta::assert_snapshot!(parse("slug: Nav Monthly\nversion: 1.0\nstate: ''\nsteps: {}\n")
        .findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), @r#"
runbook.md:2: FRONTMATTER_FIELD_MISSING: field `name` is required
runbook.md:2: FRONTMATTER_FIELD_MISSING: field `author` is required
runbook.md:2: SLUG_INVALID: invalid slug `Nav Monthly`: use at most 30 lowercase letters, digits and inner hyphens
runbook.md:3: VERSION_INVALID: version must be a semantic version such as `1.0.0`, not a number
runbook.md:4: FRONTMATTER_FIELD_MISSING: field `state` must not be empty
runbook.md:5: FRONTMATTER_FIELD_INVALID: field `steps` must be a list, not a mapping
"#);
    insta::assert_snapshot!(lines("version2: x\nsteps:\n- {id: a, colour: red}\n"), @r#"
runbook.md:7: FRONTMATTER_FIELD_UNKNOWN: unknown field `version2` has no effect
runbook.md:9: FRONTMATTER_FIELD_UNKNOWN: unknown field `steps[0].colour` has no effect
"#);
    insta::assert_snapshot!(lines("steps:\n- id: a\n- id: a\n- label: No id\n- id: 'a b'\n- plain\n"), @r#"
runbook.md:9: STEP_ID_DUPLICATE: step id `a` is used twice
runbook.md:10: FRONTMATTER_FIELD_MISSING: field `steps[2].id` is required
runbook.md:11: STEP_ID_INVALID: invalid step id `a b`: use at most 63 letters, digits, `_` and `-`, starting with a letter or digit
runbook.md:12: FRONTMATTER_FIELD_INVALID: field `steps[4]` must be a mapping, not a string
"#);
    insta::assert_snapshot!(
        lines("steps:\n- {id: a, requires: a}\nactivities:\n  post: {requires: b}\n  pay: {effect: some}\n  x: {require: a}\n"), @r#"
runbook.md:8: ACTIVITY_MISSING: steps[0] has `requires` or `effect` but names no `activity`
runbook.md:10: REQUIRES_UNKNOWN_STEP: activity `post` requires step `b`, which is not declared under `steps`
runbook.md:11: EFFECT_INVALID: invalid activities.pay.effect `some`: use none, idempotent or external
runbook.md:12: ACTIVITY_FIELD_UNKNOWN: unknown field `activities.x.require`
"#);
    insta::assert_snapshot!(
        lines("steps:\n- {id: a, activity: post, effect: none}\nactivities: {post: {effect: external}}\n"), @r#"runbook.md:9: ACTIVITY_CONFLICT: activity `post` is declared twice with different policies"#);
    insta::assert_snapshot!(lines("handles_cancel: always\n"), @"runbook.md:7: FRONTMATTER_FIELD_INVALID: field `handles_cancel` must be true or false, not a string");
    insta::assert_snapshot!(lines("outputs: [a.csv, ../b, a.csv, /etc/x]\n"), @r#"
runbook.md:7: OUTPUT_INVALID: output `../b` has a `..`, `.` or empty component
runbook.md:7: OUTPUT_INVALID: output `a.csv` is listed twice
runbook.md:7: OUTPUT_INVALID: output `/etc/x` is absolute
"#);
    insta::assert_snapshot!(
        lines("config_schema:\n  global:\n    period:\n      type: text\n    ok: {type: string}\n    rate:\n      type: number\n      default: x\n"), @r#"
runbook.md:10: CONFIG_SCHEMA_INVALID: config_schema.global.period: type "text" must be one of string, number, integer, boolean, array, object, null
runbook.md:13: CONFIG_SCHEMA_INVALID: config_schema.global.rate: default "x" is not of type "number"
"#);
    insta::assert_snapshot!(lines("config_schema: {period: {type: string}}\n"), @r#"runbook.md:7: CONFIG_SCHEMA_EMPTY: config_schema has neither `global` nor `steps`, so it describes no field"#);
}

#[test]
fn broken_files_say_where() {
    let text = |text: &str| {
        let parsed = RunbookManifest::parse(text);
        assert_eq!(parsed.manifest, None);
        parsed.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(text("# Title\n"), @r#"runbook.md:1: FRONTMATTER_MISSING: the file must start with a line `---` followed by the frontmatter"#);
    insta::assert_snapshot!(text("---\nslug: x\n"), @r#"runbook.md:1: FRONTMATTER_MISSING: the frontmatter opened on line 1 is not closed by a line `---`"#);
    insta::assert_snapshot!(text("---\n- a\n---\n"), @r#"runbook.md:2: FRONTMATTER_NOT_MAPPING: the frontmatter must be a mapping, not a list"#);
    insta::assert_snapshot!(text("---\n---\n"), @r#"runbook.md:2: FRONTMATTER_NOT_MAPPING: the frontmatter must be a mapping, not empty"#);
    insta::assert_snapshot!(text("---\nslug: a\nslug: b\n---\n"), @r#"runbook.md:3: FRONTMATTER_PARSE_ERROR: duplicate mapping key: slug"#);
    insta::assert_snapshot!(text("---\nslug: a\nname: [x\nversion: 1\n---\n"), @r#"runbook.md:4: FRONTMATTER_PARSE_ERROR: illegal placement of ':' indicator"#);
    insta::assert_snapshot!(text("---\nslug: a\n name: x\n---\n"), @r#"runbook.md:3: FRONTMATTER_PARSE_ERROR: mapping values are not allowed in this context"#);
    insta::assert_snapshot!(text("---\nslug: a\nname: \"x\n---\n"), @r#"runbook.md:3: FRONTMATTER_PARSE_ERROR: unclosed quote"#);
}

#[test]
fn slugs_are_short_dns_labels() {
    for slug in ["a", "nav-monthly", "a1", &"a".repeat(30)] {
        assert!(is_valid_slug(slug), "{slug}");
    }
    for slug in ["", "-a", "a-", "A", "a_b", "a.b", "é", &"a".repeat(31)] {
        assert!(!is_valid_slug(slug), "{slug}");
    }
    assert_eq!(workflow_class("expense-processor"), "ExpenseProcessorWorkflow");
    assert_eq!(workflow_class("nav--2x"), "Nav2xWorkflow");
}
