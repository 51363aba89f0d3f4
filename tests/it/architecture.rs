//! Architecture: a module imports only what the picture in docs/ARCHITECTURE.md allows, and files import each
//! other in no cycle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Ident, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// Which module may import which. A stage knows the shared words, its settings and, where it talks to the
/// API, `descope`; never another stage. Only the pipeline knows all of them.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("secret", &[]),
    ("domain", &["secret"]),
    ("metrics", &["domain"]),
    ("postgres", &[]),
    ("temp_postgres", &[]),
    ("simulator", &["secret"]),
    ("decrypt", &["domain", "secret"]),
    ("config", &["decrypt", "domain", "postgres", "secret"]),
    ("descope", &["config", "domain", "metrics", "secret"]),
    ("rate", &["config", "domain", "ledger", "metrics"]),
    ("reader", &["config", "decrypt", "domain", "postgres", "secret"]),
    ("validation", &["config", "descope", "domain", "secret"]),
    ("chunker", &["domain", "secret"]),
    ("ledger", &["config", "domain", "postgres", "secret"]),
    (
        "uploader",
        &[
            "config", "descope", "domain", "ledger", "metrics", "rate", "secret",
        ],
    ),
    (
        "lookup",
        &["config", "descope", "domain", "ledger", "rate", "secret"],
    ),
    ("report", &["config", "domain", "ledger"]),
    (
        "pipeline",
        &[
            "chunker",
            "config",
            "descope",
            "domain",
            "ledger",
            "lookup",
            "metrics",
            "postgres",
            "rate",
            "reader",
            "report",
            "secret",
            "uploader",
            "validation",
        ],
    ),
    (
        "observe",
        &[
            "config", "domain", "ledger", "metrics", "rate", "report", "secret",
        ],
    ),
    (
        "doctor",
        &[
            "config",
            "descope",
            "domain",
            "ledger",
            "metrics",
            "observe",
            "postgres",
            "reader",
            "secret",
            "validation",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "doctor",
            "domain",
            "ledger",
            "metrics",
            "observe",
            "pipeline",
            "postgres",
            "rate",
            "reader",
            "report",
            "secret",
            "simulator",
            "temp_postgres",
            "uploader",
        ],
    ),
];

#[test]
fn modules_import_only_what_the_picture_allows() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders: BTreeSet<String> = fs::read_dir(&source)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let known: BTreeSet<String> = MAY_IMPORT
        .iter()
        .map(|(module, _)| (*module).to_owned())
        .collect();
    assert_eq!(
        folders, known,
        "every folder of src/ has its place in the picture"
    );

    let mut wrong = Vec::new();
    for file in SourceFile::all() {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(module, _)| *module == file.module[0]) else {
            continue;
        };
        for import in &file.imports {
            let imported = import[0].as_str();
            if imported != file.module[0] && known.contains(imported) && !allowed.contains(&imported) {
                wrong.push(format!("{} imports {imported}", file.module.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_of_a_folder_import_each_other_in_a_cycle() {
    let files = SourceFile::all();
    let tree = Tree::of(&files);
    let mut imports: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for file in &files {
        let targets = file.imports.iter().map(|path| tree.file_of(path));
        // A parent lists its children, and they may use what stands in it.
        let siblings = targets.filter(|target| {
            target.first() == file.module.first()
                && !file.module.starts_with(target)
                && !target.starts_with(&file.module)
        });
        imports.insert(&file.module, siblings.collect());
    }
    // Files that import none of those left are in no cycle, nor are those that none of them imports.
    loop {
        let before = imports.len();
        let left: BTreeSet<&[String]> = imports.keys().copied().collect();
        imports.retain(|_, targets| targets.iter().any(|target| left.contains(target)));
        let imported: BTreeSet<&[String]> = imports.values().flatten().copied().collect();
        imports.retain(|file, _| imported.contains(file));
        if imports.len() == before {
            break;
        }
    }
    let cycles: Vec<String> = imports
        .iter()
        .flat_map(|(file, targets)| {
            let left = targets.iter().filter(|target| imports.contains_key(*target));
            left.map(|target| format!("{} imports {}", file.join("::"), target.join("::")))
        })
        .collect();
    assert!(cycles.is_empty(), "{cycles:#?}");
}

/// rustfmt wraps code; wrapping comments is not stable in it.
#[test]
fn no_comment_is_wider_than_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let format: toml::Table = fs::read_to_string(root.join("rustfmt.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let most = usize::try_from(format["max_width"].as_integer().unwrap()).unwrap();
    let files = ["src", "tests", "benches"].map(|folder| rust_files(&root.join(folder)));
    let wide: Vec<String> = files
        .iter()
        .flatten()
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let wide = text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.trim_start().starts_with("//") && line.chars().count() > most);
            let numbers: Vec<usize> = wide.map(|(number, _)| number + 1).collect();
            numbers
                .into_iter()
                .map(|number| format!("{}:{number}", path.display()))
        })
        .collect();
    assert!(wide.is_empty(), "wider than {most}: {wide:#?}");
}

/// A file of src/, and what it imports outside its tests: paths from the root of the crate.
struct SourceFile {
    module: Vec<String>,
    imports: Vec<Vec<String>>,
    /// Names that its `pub use` shows, and the paths behind them.
    exports: Vec<(String, Vec<String>)>,
}

impl SourceFile {
    fn all() -> Vec<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        rust_files(&source)
            .into_iter()
            .filter_map(|path| {
                let module = path.strip_prefix(&source).unwrap().with_extension("");
                let mut module: Vec<String> = module
                    .iter()
                    .map(|part| part.to_str().unwrap().to_owned())
                    .collect();
                module.retain(|part| part != "mod");
                let is_root = module == ["lib"] || module == ["main"];
                (!is_root).then(|| Self::parse(module, &fs::read_to_string(&path).unwrap()))
            })
            .collect()
    }

    fn parse(module: Vec<String>, code: &str) -> Self {
        let mut file = Self {
            module,
            imports: Vec::new(),
            exports: Vec::new(),
        };
        file.visit_file(&syn::parse_file(code).unwrap());
        file
    }

    /// The path from the root of the crate; `None` if it leads out of it.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut from = self.module.clone();
        let rest = match path.first()?.as_str() {
            "crate" => {
                from.clear();
                &path[1..]
            }
            "self" => &path[1..],
            "super" => {
                let levels = path.iter().take_while(|part| *part == "super").count();
                from.truncate(from.len().checked_sub(levels)?);
                &path[levels..]
            }
            _ => return None,
        };
        from.extend_from_slice(rest);
        (!from.is_empty()).then_some(from)
    }

    fn add_use(&mut self, tree: &UseTree, path: &mut Vec<String>, is_public: bool) {
        let mut leaf = |name: &Ident, shown: &Ident, path: &mut Vec<String>| {
            if name != "self" {
                path.push(name.to_string());
            }
            // A re-export names a child by itself.
            let absolute = self.absolute(path).or_else(|| {
                let child: Vec<String> = self.module.iter().chain(path.iter()).cloned().collect();
                is_public.then_some(child)
            });
            if let Some(absolute) = absolute {
                if is_public {
                    self.exports.push((shown.to_string(), absolute.clone()));
                }
                self.imports.push(absolute);
            }
            if name != "self" {
                path.pop();
            }
        };
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.add_use(&part.tree, path, is_public);
                path.pop();
            }
            UseTree::Group(group) => {
                for part in &group.items {
                    self.add_use(part, path, is_public);
                }
            }
            UseTree::Name(name) => leaf(&name.ident, &name.ident, path),
            UseTree::Rename(rename) => leaf(&rename.ident, &rename.rename, path),
            UseTree::Glob(_) => self.imports.extend(self.absolute(path)),
        }
    }
}

impl<'ast> Visit<'ast> for SourceFile {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        // Unit tests may look around.
        let is_test = module.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<Ident>().is_ok_and(|what| what == "test")
        });
        if !is_test {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        self.add_use(&item.tree, &mut Vec::new(), is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.imports.extend(self.absolute(&parts));
        visit::visit_path(self, path);
    }
}

/// All files by their paths.
struct Tree<'a>(BTreeMap<&'a [String], &'a SourceFile>);

impl<'a> Tree<'a> {
    fn of(files: &'a [SourceFile]) -> Self {
        Self(files.iter().map(|file| (file.module.as_slice(), file)).collect())
    }

    /// The file in which the item stands that a path names.
    fn file_of(&self, path: &[String]) -> &'a [String] {
        let mut path = path.to_vec();
        loop {
            let (module, file) = (0..=path.len())
                .rev()
                .find_map(|length| self.0.get_key_value(&path[..length]))
                .unwrap_or_else(|| panic!("no file has {path:?}"));
            let Some(name) = path.get(module.len()) else {
                return module;
            };
            match file.exports.iter().find(|(shown, _)| shown == name) {
                Some((_, behind)) if *behind != path => path = behind.clone(),
                _ => return module,
            }
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn imports_are_found_in_braces_in_paths_and_behind_re_exports() {
    let module = |path: &str| path.split("::").map(ToOwned::to_owned).collect::<Vec<_>>();
    let user = SourceFile::parse(
        module("a::user"),
        "use crate::{b::{self, Y}, c::Z}; use super::Shown; fn f() -> crate::d::E { super::other::g() }
         #[cfg(test)] mod tests { use crate::only_in_tests::T; }",
    );
    let imports: Vec<String> = user.imports.iter().map(|path| path.join("::")).collect();
    assert_eq!(imports, ["b", "b::Y", "c::Z", "a::Shown", "d::E", "a::other::g"]);
    let parent = SourceFile::parse(module("a"), "pub use maker::Made as Shown;");
    let maker = SourceFile::parse(module("a::maker"), "pub struct Made;");
    let files = [parent, maker, user];
    assert_eq!(Tree::of(&files).file_of(&module("a::Shown")), module("a::maker"));
}
