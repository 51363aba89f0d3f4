//! Somebody who can be asked: there is a terminal, and `--yes` was not given.

use std::{
    env,
    io::{self, BufRead, IsTerminal, Write},
};

use super::{
    URL,
    draft::{Draft, Found},
    usage,
};
use crate::{
    domain::{visible, visible_lines},
    secret::Secret,
};

/// The answer that leaves the tokens of an app out.
const LEAVE_OUT: &str = "-";

pub(super) struct Person {
    pub(super) is_there: bool,
}

impl Person {
    pub(super) fn new(says_yes: bool) -> Self {
        Self {
            is_there: !says_yes && io::stdin().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// The URL of the source: from the environment, or from a person, who types it without echo.
    pub(super) fn url(&self) -> anyhow::Result<Secret> {
        if let Ok(url) = env::var(URL) {
            return Ok(Secret::new(url));
        }
        if !self.is_there {
            return Err(usage(format!(
                "{URL} is not set: set it to the URL of the database with the tokens (postgres://user:password@host/database)"
            )));
        }
        self.tell("URL of the database with the tokens: postgres://user:password@host/database")?;
        let terminal = console::Term::stderr();
        terminal.write_str("It is not shown: ")?;
        Ok(Secret::new(terminal.read_secure_line()?))
    }

    /// Says something that the next questions are about.
    pub(super) fn tell(&self, text: &str) -> anyhow::Result<()> {
        if self.is_there {
            writeln!(io::stderr().lock(), "{}", visible_lines(text))?;
        }
        Ok(())
    }

    /// The answer to a question, or the default.
    fn ask(&mut self, question: &str, default: &str) -> anyhow::Result<String> {
        if !self.is_there {
            return Ok(default.to_owned());
        }
        let mut terminal = io::stderr().lock();
        write!(terminal, "{} [{}] ", visible(question), visible(default))?;
        terminal.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(match answer.trim() {
            "" => default.to_owned(),
            answer => answer.to_owned(),
        })
    }

    /// The choice that an answer stands for, or the default; asked again until it is one.
    pub(super) fn choose<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        loop {
            let answer = self.ask(question, default)?;
            if let Some(choice) = read(&answer) {
                return Ok(choice);
            }
            let text = format!("{} is none of the answers", visible(&answer));
            // Also the answer of a terminal that is closed: asking again would never end.
            if answer == default {
                return Err(usage(text));
            }
            writeln!(io::stderr().lock(), "{text}")?;
        }
    }

    /// Asks what only a person can decide.
    pub(super) fn decide(&mut self, draft: &mut Draft) -> anyhow::Result<()> {
        draft.migration = self.ask("Name of the migration in the ledger?", &draft.migration)?;
        if let Found::Preset(preset, _) = &draft.found
            && preset.user_id.is_some()
        {
            let users = preset.users();
            let question = format!(
                "Find users at Descope by {} (`login`) or by {} (`id`)?",
                users.login, users.id
            );
            draft.has_user_ids = self.choose(&question, "login", |answer| match answer {
                "id" => Some(true),
                "login" => Some(false),
                _ => None,
            })?;
        }
        if !draft.apps.is_empty() {
            self.tell(
                "For each app of the source: the ID of its outbound app, or - to leave its tokens out.",
            )?;
        }
        let mut apps = Vec::with_capacity(draft.apps.len());
        for (name, id) in std::mem::take(&mut draft.apps) {
            let id = self.ask(&format!("Outbound app of \"{name}\"?"), &id)?;
            if id == LEAVE_OUT {
                draft.left_out.push(name);
            } else {
                apps.push((name, id));
            }
        }
        draft.apps = apps;
        Ok(())
    }
}
