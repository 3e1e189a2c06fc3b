use super::*;
use crate::testing::runs::pin;

fn input(pin: &RunPin) -> JobInput<'_> {
    JobInput {
        namespace: "acme",
        run: "nav-abcde",
        run_uid: "run-uid",
        run_id: "00000000-0000-0000-0000-000000000007",
        workflow: "nav",
        segment: 2,
        pin,
        api_url: "https://ntro.ntro-system.svc:8443",
        outage_wait: Duration::from_mins(15),
        allow_no_landlock: false,
    }
}

#[test]
fn the_job_of_a_segment() {
    insta::assert_yaml_snapshot!(build(&input(&pin(None))));
}

fn hash(job: &Job) -> String {
    job.metadata.annotations.as_ref().unwrap()[labels::TEMPLATE_HASH].clone()
}

#[test]
fn the_hash_tells_what_would_run_and_nothing_else() {
    let plain = pin(None);
    let job = build(&input(&plain));
    assert_eq!(hash(&job), hash(&build(&JobInput { run_uid: "other", ..input(&plain) })));
    let mut other = plain.clone();
    other.image = other.image.replace('a', "b");
    assert_ne!(hash(&job), hash(&build(&input(&other))));
}

#[test]
fn users_label_pods_only_under_their_prefix() {
    let mut pin = pin(None);
    let template = pin.run_template.as_mut().unwrap();
    template.labels.as_mut().unwrap().insert("app".to_owned(), "shop".to_owned());
    let labels = build(&input(&pin)).spec.unwrap().template.metadata.unwrap().labels.unwrap();
    assert!(!labels.contains_key("app") && labels.contains_key("labels.ntro.dev/cost-centre"));
}

#[test]
fn the_job_of_a_queue_starts_suspended() {
    let mut pin = pin(None);
    assert_eq!(build(&input(&pin)).spec.unwrap().suspend, None);
    let template = pin.run_template.as_mut().unwrap();
    template.labels.as_mut().unwrap().insert(labels::KUEUE_QUEUE_NAME.to_owned(), "month-end".to_owned());
    assert_eq!(build(&input(&pin)).spec.unwrap().suspend, Some(true));
}

#[test]
fn what_users_ask_for_replaces_the_default() {
    let mut pin = pin(None);
    let resources = serde_json::from_value(serde_json::json!({"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}));
    pin.run_template.as_mut().unwrap().resources = Some(resources.unwrap());
    let pod = build(&input(&pin)).spec.unwrap().template.spec.unwrap();
    let resources = pod.containers[0].resources.clone().unwrap();
    assert_eq!(
        resources.requests.unwrap().into_iter().collect::<Vec<_>>(),
        [("cpu".to_owned(), Quantity("1".to_owned()))]
    );
    assert_eq!(resources.limits.unwrap()["memory"], Quantity("1Gi".to_owned()));
}
