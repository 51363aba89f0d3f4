//! `config/deploy`: each file is right by its own rules, and says of the program what is so.

mod grants;
mod hooks;
mod kubernetes;
mod names;
mod systemd;

use std::{collections::BTreeSet, fs, path::Path};

use tokenferry::cli::Exit;

/// A file of `config/deploy`.
fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config/deploy")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A person has to look, and trying again would only repeat it.
fn for_a_person() -> BTreeSet<u8> {
    [Exit::Usage, Exit::SomeFailed, Exit::StoppedEarly]
        .map(Exit::code)
        .into()
}

/// No failure, and nothing to tell anybody about.
fn harmless() -> BTreeSet<u8> {
    [Exit::Locked, Exit::Signal(2), Exit::Signal(15)]
        .map(Exit::code)
        .into()
}

/// May go better next time.
fn worth_another_try() -> BTreeSet<u8> {
    [Exit::Unforeseen, Exit::Database].map(Exit::code).into()
}
