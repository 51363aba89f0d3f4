//! The `CronJob` and what it needs.

use std::{collections::BTreeSet, fs, time::Duration};

use k8s_openapi::{
    api::{
        batch::v1::{CronJob, JobSpec, PodFailurePolicyRule},
        core::v1::{ConfigMap, PodSpec, ServiceAccount},
        networking::v1::{NetworkPolicy, NetworkPolicyPort},
    },
    apimachinery::pkg::util::intstr::IntOrString,
    serde::{Serialize, de::DeserializeOwned},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{for_a_person, harmless, text, worth_another_try};
use crate::support::settings::try_settings;

/// Where the pod finds its credentials.
const SECRETS: &str = "/run/secrets/tokenferry";

/// The manifest's one object of this kind. A field that Kubernetes does not know would be lost on the way
/// through its type.
fn object<T: DeserializeOwned + Serialize>(kind: &str) -> T {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text("kubernetes-cronjob.yaml")).unwrap();
    let mut found = documents.into_iter().filter(|one| one["kind"] == kind);
    let (document, another) = (found.next().unwrap(), found.next());
    assert_eq!(another, None);
    let object: T = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), document, "{kind}");
    object
}

fn job() -> JobSpec {
    let cron_job: CronJob = object("CronJob");
    let spec = cron_job.spec.unwrap();
    assert_eq!(spec.concurrency_policy.as_deref(), Some("Forbid"));
    spec.job_template.spec.unwrap()
}

fn pod() -> PodSpec {
    job().template.spec.unwrap()
}

/// The configuration that the pod gets, with its credentials in a folder of this test's.
pub(super) fn configuration(secrets: &TempDir) -> String {
    let map: ConfigMap = object("ConfigMap");
    let configuration = map.data.unwrap()["tokenferry.toml"].clone();
    configuration.replace(SECRETS, secrets.path().to_str().unwrap())
}

#[test]
fn a_pod_runs_the_job_once_and_may_do_nothing_else() {
    let account: ServiceAccount = object("ServiceAccount");
    assert_eq!(account.automount_service_account_token, Some(false));
    let pod = pod();
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.service_account_name, account.metadata.name);
    // The policy on exit codes demands it.
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
    let every = pod.security_context.unwrap();
    assert_eq!(every.run_as_non_root, Some(true));
    assert_eq!(every.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let [container] = &pod.containers[..] else {
        panic!("one container");
    };
    let own = container.security_context.as_ref().unwrap();
    assert_eq!(own.allow_privilege_escalation, Some(false));
    assert_eq!(own.read_only_root_filesystem, Some(true));
    let dropped = own.capabilities.as_ref().unwrap().drop.as_ref().unwrap();
    assert_eq!(dropped[..], ["ALL"]);
}

#[test]
fn a_pod_reaches_names_databases_and_the_api_and_nobody_reaches_it() {
    let policy: NetworkPolicy = object("NetworkPolicy");
    let spec = policy.spec.unwrap();
    let selected = spec.pod_selector.unwrap().match_labels.unwrap();
    let labels = job().template.metadata.unwrap().labels.unwrap();
    assert!(!selected.is_empty());
    for (name, value) in &selected {
        assert_eq!(labels.get(name), Some(value), "{name}");
    }
    // A direction that is not named is not restricted.
    assert_eq!(spec.policy_types.unwrap(), ["Ingress", "Egress"]);
    assert!(spec.ingress.is_none_or(|rules| rules.is_empty()));
    let rules = spec.egress.unwrap();
    let port = |port: &NetworkPolicyPort| {
        assert_eq!(port.end_port, None);
        let Some(IntOrString::Int(number)) = port.port else {
            panic!("a number: {port:?}");
        };
        (port.protocol.clone().unwrap(), number)
    };
    let mut ports = BTreeSet::new();
    for rule in &rules {
        // A rule without ports is for all of them.
        let named = rule.ports.as_ref().unwrap();
        assert!(!named.is_empty());
        ports.extend(named.iter().map(port));
    }
    let expected = [("TCP", 53), ("UDP", 53), ("TCP", 443), ("TCP", 5432)];
    assert_eq!(
        ports,
        expected
            .map(|(protocol, number)| (protocol.to_owned(), number))
            .into()
    );
}

#[test]
fn images_are_named_by_an_exact_version() {
    let pod = pod();
    let image = format!("tokenferry:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(pod.containers[0].image.as_ref(), Some(&image));
    let dockerfile = text("Dockerfile");
    let base = |name: &str| {
        let line = format!("ARG {name}=");
        let found = dockerfile.lines().find_map(|one| one.strip_prefix(&line));
        found.unwrap().to_owned()
    };
    let build = base("BUILD_IMAGE");
    let version = build
        .split_once("/rust:")
        .and_then(|(_, tag)| tag.split_once('-'))
        .map(|(version, _)| version.split('.').collect::<Vec<_>>())
        .unwrap();
    assert!(
        version.len() == 3 && version.iter().all(|part| part.parse::<u32>().is_ok()),
        "{build}"
    );
    // It has no tags for versions, and the file says what to do about it.
    assert_eq!(base("RUN_IMAGE"), "gcr.io/distroless/cc-debian12:nonroot");
    assert!(dockerfile.contains("for a release, set its digest"));
    let stages: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "))
        .collect();
    assert_eq!(stages, ["${BUILD_IMAGE} AS build", "${RUN_IMAGE}"]);
}

#[test]
fn every_exit_code_has_its_consequence() {
    let job = job();
    let rules = job.pod_failure_policy.unwrap().rules;
    let codes = |action: &str| -> BTreeSet<u8> {
        let of = |rule: &PodFailurePolicyRule| -> Vec<u8> {
            let Some(codes) = rule.on_exit_codes.as_ref().filter(|_| rule.action == action) else {
                return Vec::new();
            };
            assert_eq!(codes.operator, "In");
            assert_eq!(codes.container_name.as_deref(), Some("migrate"));
            codes
                .values
                .iter()
                .map(|&code| u8::try_from(code).unwrap())
                .collect()
        };
        rules.iter().flat_map(of).collect()
    };
    assert_eq!(codes("FailJob"), for_a_person());
    assert_eq!(codes("Ignore"), harmless());
    assert_eq!(codes("Count"), worth_another_try());
    assert!((1..=6).contains(&job.backoff_limit.unwrap()));
    assert_eq!(job.template.spec.unwrap().containers[0].name, "migrate");
}

#[test]
fn the_configuration_loads_with_nothing_but_what_is_mounted() {
    let pod = pod();
    let container = &pod.containers[0];
    let mounts = container.volume_mounts.as_ref().unwrap();
    let volume = |path: &str| {
        let mount = mounts.iter().find(|mount| mount.mount_path == path).unwrap();
        assert_eq!(mount.read_only, Some(true));
        let volumes = pod.volumes.as_ref().unwrap();
        volumes.iter().find(|volume| volume.name == mount.name).unwrap()
    };
    let map = volume("/etc/tokenferry").config_map.as_ref().unwrap();
    assert_eq!(map.name, object::<ConfigMap>("ConfigMap").metadata.name.unwrap());
    let arguments = container.args.as_ref().unwrap();
    assert!(arguments.contains(&"/etc/tokenferry/tokenferry.toml".to_owned()));

    let secrets = tempfile::tempdir().unwrap();
    let secret = volume(SECRETS).secret.as_ref().unwrap();
    for item in secret.items.as_ref().unwrap() {
        // The head of the file says how to make them.
        let option = format!("--from-file={}", item.key);
        assert!(text("kubernetes-cronjob.yaml").contains(&option), "{option}");
        let value = if item.key.ends_with("-url") {
            "postgres://role:password@db.internal/name?sslmode=verify-full"
        } else {
            "P1"
        };
        fs::write(secrets.path().join(&item.path), value).unwrap();
    }
    let settings = try_settings(&configuration(&secrets)).unwrap();

    let grace = u64::try_from(pod.termination_grace_period_seconds.unwrap()).unwrap();
    let shutdown = settings.api.timeout + Duration::from_secs(60);
    assert!(Duration::from_secs(grace) >= shutdown);
}
