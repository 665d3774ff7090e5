use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::candidate::{Candidate, Content, Files, Name, Origin};
use super::names;

/// The most files that one directory is searched for: a wrong path must not read a whole disk.
const MAX_ENTRIES: usize = 100_000;

/// The GGUF files in a directory (not below it), by name.
pub(super) fn gguf_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .take(MAX_ENTRIES)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found
}

/// The directories in a directory, by name.
pub(super) fn dirs_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .take(MAX_ENTRIES)
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// The models among GGUF files that lie together: shards are one, and a projector belongs to each
/// of the others.
pub(super) fn group(
    origin: Origin,
    files: &[PathBuf],
    name: &dyn Fn(&str) -> Name,
) -> Vec<Candidate> {
    let (projectors, weights): (Vec<&PathBuf>, Vec<&PathBuf>) =
        files.iter().partition(|path| file_name(path).to_ascii_lowercase().contains("mmproj"));
    let preferred =
        projectors.iter().find(|path| file_name(path).to_ascii_lowercase().contains("f16"));
    let mmproj = preferred.or(projectors.first()).map(|path| (*path).clone());
    let mut models: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in weights {
        let stem = stem(path);
        // Sorted: the first shard comes first.
        models.entry(shards_of(&stem).unwrap_or(&stem).to_owned()).or_insert_with(|| path.clone());
    }
    models
        .into_iter()
        .map(|(stem, weights)| {
            let files =
                Files { weights, mmproj: mmproj.clone(), name: name(&stem), ..Files::default() };
            Candidate { origin, content: Content::Files(files) }
        })
        .collect()
}

/// What the user named: a file, or a directory of them.
pub(super) fn at(path: &Path, name: Option<&str>) -> Vec<Candidate> {
    let files = if path.is_dir() { gguf_in(path) } else { vec![path.to_owned()] };
    let named = |stem: &str| match name {
        Some(name) => Name::Tag(name.to_owned()),
        None => local(stem),
    };
    let mut models = group(Origin::Path, &files, &named);
    if name.is_some() {
        models.truncate(1);
    }
    models
}

/// For files that do not say where they came from. `localhost` is no registry that anybody could
/// pull from by mistake.
pub(super) fn local(stem: &str) -> Name {
    let name = names::component(names::without_quantization(stem));
    Name::Repository(format!("localhost/{name}"))
}

pub(super) fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

pub(super) fn stem(path: &Path) -> String {
    path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
}

/// `stem` of `stem-00001-of-00003`.
fn shards_of(stem: &str) -> Option<&str> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (rest, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (digits(count) && digits(number)).then_some(rest)
}
