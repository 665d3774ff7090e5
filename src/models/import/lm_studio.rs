use std::path::Path;

use super::candidate::{Candidate, Name, Origin};
use super::{files, names};

/// `PUBLISHER/REPOSITORY/FILE.gguf`, as LM Studio takes them from the Hub.
pub(super) fn scan(root: &Path) -> Vec<Candidate> {
    let repositories =
        files::dirs_in(root).into_iter().flat_map(|publisher| files::dirs_in(&publisher));
    repositories
        .flat_map(|dir| {
            let part = |path: Option<&Path>| names::component(path.map_or("", files::file_name));
            let name = format!("huggingface.co/{}/{}", part(dir.parent()), part(Some(&dir)));
            files::group(Origin::LmStudio, &files::gguf_in(&dir), &|_| {
                Name::Repository(name.clone())
            })
        })
        .collect()
}
