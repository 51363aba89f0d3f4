//! The example configuration and its parts, from which the manual and the reference are generated.

/// The file that explains every key; `tokenferry config example` prints it.
pub const EXAMPLE: &str = include_str!("../../config/tokenferry.example.toml");

/// One table of the example.
#[derive(Debug, Default)]
pub struct ExampleTable {
    /// The name between the brackets; empty for the keys before the first table.
    pub name: String,
    /// The comment above the header.
    pub about: String,
    /// Its keys, in the order of the file.
    pub groups: Vec<ExampleGroup>,
}

/// Keys that share one comment.
#[derive(Debug, Default)]
pub struct ExampleGroup {
    /// The comment above them; empty if the names are self-explanatory.
    pub about: String,
    /// The keys.
    pub keys: Vec<ExampleKey>,
}

/// One key of the example.
#[derive(Debug)]
pub struct ExampleKey {
    /// The dotted name.
    pub key: String,
    /// The line of the file, without the `#` of an optional key.
    pub line: String,
    /// True if the line is commented out in the file.
    pub is_optional: bool,
}

/// Returns the parts of [`EXAMPLE`]. The introduction at the top belongs to no table and is left out.
#[must_use]
pub fn example_tables() -> Vec<ExampleTable> {
    let mut tables = vec![ExampleTable::default()];
    let mut about = String::new();
    let mut continues_group = false;
    for line in EXAMPLE.lines() {
        if line.is_empty() {
            about.clear();
            continues_group = false;
        } else if let Some(comment) = line.strip_prefix("# ") {
            append(&mut about, comment);
            continues_group = false;
        } else if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            tables.push(ExampleTable {
                name: name.to_owned(),
                about: std::mem::take(&mut about),
                groups: Vec::new(),
            });
            continues_group = false;
        } else if let (Some(table), Some(key)) = (tables.last_mut(), key(line)) {
            let key = ExampleKey {
                key: dotted(&table.name, &key.key),
                ..key
            };
            match table.groups.last_mut().filter(|_| continues_group) {
                Some(group) => group.keys.push(key),
                None => table.groups.push(ExampleGroup {
                    about: std::mem::take(&mut about),
                    keys: vec![key],
                }),
            }
            continues_group = true;
        }
    }
    tables
}

/// Parses a line that sets a key, commented out or not.
fn key(line: &str) -> Option<ExampleKey> {
    let set = line.strip_prefix('#').unwrap_or(line);
    let (name, _) = set.split_once('=')?;
    Some(ExampleKey {
        key: name.trim().to_owned(),
        line: set.to_owned(),
        is_optional: line.starts_with('#'),
    })
}

fn dotted(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

/// Appends a comment without the dashes of a heading.
fn append(about: &mut String, comment: &str) {
    let text = comment.trim_matches(|c| c == '-' || c == ' ');
    if !about.is_empty() && !text.is_empty() {
        about.push(' ');
    }
    about.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_with_their_comments() {
        let tables = example_tables();
        let retry = tables.iter().find(|table| table.name == "api.retry").unwrap();
        let [attempts, delays, _] = retry.groups.as_slice() else {
            panic!("{retry:?}")
        };
        assert!(attempts.about.starts_with("Requests per batch"), "{attempts:?}");
        assert!(attempts.keys[0].is_optional && attempts.keys[0].line == "max_attempts = 8");
        let names: Vec<&str> = delays.keys.iter().map(|key| key.key.as_str()).collect();
        assert_eq!(names, ["api.retry.initial_interval", "api.retry.max_interval"]);
        assert!(
            !retry.about.is_empty() && !retry.about.contains("--"),
            "{retry:?}"
        );
        let session = tables.iter().find(|table| table.name == "source.session");
        assert_eq!(
            session.unwrap().groups[0].keys[0].key,
            "source.session.\"tokenferry.key\""
        );
    }
}
