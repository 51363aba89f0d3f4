//! `doctor`: checks everything a run needs, and changes nothing.

use std::io::{self, Write as _};

use super::{
    Exit,
    args::{DoctorArgs, Global},
    doctor_text, load,
    paper::{self, Paper},
};
use crate::{
    doctor::{self, FailureClass},
    domain::visible_json,
};

pub(super) async fn run(global: &Global, args: &DoctorArgs) -> anyhow::Result<Exit> {
    let examination = doctor::examine(&load(global)).await;
    let text = if args.json {
        visible_json(&(serde_json::to_string(&examination)? + "\n")).into_owned()
    } else {
        paper::fitted(
            &doctor_text::text(&examination, global.verbose > 0),
            Paper::Stdout,
        )
        .into_owned()
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A closed pipe means that the reader has seen enough; the exit code stays the same.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(match examination.class() {
        None => Exit::Done,
        Some(FailureClass::Configuration) => Exit::Usage,
        Some(FailureClass::Database) => Exit::Database,
        Some(FailureClass::Api) => Exit::StoppedEarly,
    })
}
