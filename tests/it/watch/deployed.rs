//! The dashboard, the alerts and the reference: every figure they name is one that the program exports.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tokenferry::{
    config::RateLimit,
    domain::Mode,
    metrics::Meter,
    observe::{MonitoringOptions, MonitoringServer},
    rate::RunControl,
    report::View,
};
use tokio::sync::watch;

use super::watched::Figures;

fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/deploy");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// What the program exports: nothing else begins with its name.
async fn exported() -> BTreeSet<String> {
    let rate = RateLimit {
        requests: 100,
        per: std::time::Duration::from_secs(60),
        burst: 1,
    };
    let control = RunControl::new(rate, Meter::new("crm", Mode::Migrate));
    let (_view, seen) = watch::channel(View::default());
    let lookout = MonitoringServer::open(MonitoringOptions::default(), &control, seen)
        .await
        .unwrap();
    let figures = Figures::read(&lookout.text().unwrap());
    figures.names().into_iter().map(str::to_owned).collect()
}

/// Every word of a text that begins like a figure; of a histogram, the figure.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("tokenferry_"))
        .map(|word| {
            let part_of = ["_bucket", "_sum", "_count"].iter();
            part_of
                .fold(word, |word, suffix| word.strip_suffix(suffix).unwrap_or(word))
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn the_dashboard_shows_figures_that_there_are() {
    let text = text("grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut speaks_of = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = &panel["gridPos"];
        assert!(
            place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24,
            "{panel}"
        );
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let names = named(expression);
            assert!(!names.is_empty(), "{expression}");
            assert_eq!(
                expression.matches(['(', '{']).count(),
                expression.matches([')', '}']).count(),
                "{expression}"
            );
            speaks_of.extend(names);
        }
    }
    assert!(panels.len() >= 10);
    let exported = exported().await;
    let unknown: Vec<_> = named(&text).difference(&exported).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?} of {exported:?}");
    // What nobody looks at need not be counted. The version is what the variables are made of; rows read, the
    // annotations.
    let unseen: Vec<_> = exported.difference(&named(&text)).cloned().collect();
    assert_eq!(unseen, ["tokenferry_rows_read_total"]);
}

#[tokio::test]
async fn the_alerts_speak_of_figures_that_there_are() {
    let text = text("prometheus-alerts.yaml");
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let exported = exported().await;
    let mut names = BTreeSet::new();
    for rule in rules {
        assert!(names.insert(rule["alert"].as_str().unwrap()), "{rule}");
        let expression = rule["expr"].as_str().unwrap();
        let speaks_of = named(expression);
        assert!(!speaks_of.is_empty() && speaks_of.is_subset(&exported), "{rule}");
        for what in ["summary", "description"] {
            assert!(rule["annotations"][what].is_string(), "{rule}");
        }
        assert!(rule["labels"]["severity"].is_string(), "{rule}");
    }
    for expected in [
        "TokenferryTokensFailed",
        "TokenferryRunStopped",
        "TokenferryNoSuccess",
        "TokenferryAbsent",
        "TokenferryHeldByRateLimit",
    ] {
        assert!(names.contains(expected), "{expected}");
    }
}

#[tokio::test]
async fn the_reference_lists_the_figures_that_there_are() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md");
    assert_eq!(named(&fs::read_to_string(page).unwrap()), exported().await);
}
