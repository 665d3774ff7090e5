use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Error, ErrorKind, Result};
use crate::gguf::ShardName;

use super::listing::{Files, HubFile, is_license};

/// What is taken when nobody says what.
const USUAL_QUANTIZATION: &str = "q4_k_m";
/// The most shards that a model is taken in.
const MAX_SHARDS: usize = 512;
/// The most licence texts that come along.
const MAX_LICENSES: usize = 8;
/// The most names that a message lists.
const SHOWN: usize = 30;

/// The files of a repository that are one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The weights; all shards in their order.
    pub(super) weights: Vec<HubFile>,
    /// The multimodal projector.
    pub(super) projector: Option<HubFile>,
    /// A chat template that replaces the one in the weights.
    pub(super) template: Option<HubFile>,
    /// Licence texts.
    pub(super) licenses: Vec<HubFile>,
    /// What the user should know about the choice.
    pub(super) warnings: Vec<String>,
}

/// One GGUF file, or the shards of one model.
struct Candidate<'a> {
    /// The path of the first file.
    path: &'a str,
    files: Vec<(usize, &'a HubFile)>,
    /// How many files it has by its name.
    count: usize,
}

/// The model in `files` that `tag` means: the one whose path holds it as a word of its own, in any
/// case. `latest` is `Q4_K_M` if there is one, else the first by name. `name` is the repository's,
/// for messages.
///
/// # Errors
/// `UnsupportedModel` without any GGUF file, `RegistryNotFound` naming what there is instead of
/// `tag`, `InvalidModel` where shards are missing.
pub(super) fn choose(files: &Files, tag: &str, name: &str) -> Result<Chosen> {
    let gguf = || files.candidates.iter().filter(|file| has_end(file, ".gguf"));
    let candidates = candidates(gguf().filter(|file| !is_projector(file) && !is_matrix(file)));
    if candidates.is_empty() {
        return Err(no_gguf(files, name));
    }
    let wanted = (!tag.eq_ignore_ascii_case("latest")).then(|| tag.to_ascii_lowercase());
    let chosen = pick(&candidates, wanted.as_deref()).ok_or_else(|| {
        let text = format!("{name} has no GGUF file for {tag:?}; it has {}", labels(&candidates));
        Error::new(ErrorKind::RegistryNotFound, text)
    })?;
    let weights = complete(chosen)?;
    let home = weights.first().map(HubFile::directory).unwrap_or_default();

    let mut warnings = Vec::new();
    if wanted.is_none() && candidates.len() > 1 {
        warnings.push(format!(
            "{name} holds several models and {} was taken; there is {}",
            label(chosen.path),
            labels(&candidates)
        ));
    }
    // Those in other directories than the weights' belong to other models, except at the top.
    let near = |file: &&HubFile| file.directory() == home || file.directory().is_empty();
    let projectors: Vec<&HubFile> = gguf().filter(|file| is_projector(file)).collect();
    let projector = projectors.iter().copied().min_by_key(|file| {
        let lower = file.path.to_ascii_lowercase();
        let is_f16 = match rank(&lower, "f16") {
            Some(_) => 0,
            None if lower.contains("f16") => 1,
            None => 2,
        };
        (!near(file), is_f16, file.path.as_str())
    });
    if let Some(taken) = projector.filter(|_| projectors.len() > 1) {
        let count = projectors.len();
        warnings.push(format!("{name} has {count} projectors and {} was taken", taken.path));
    }
    let small = || files.candidates.iter().filter(|file| file.size > 0).filter(near);
    let template = small().filter(|file| has_end(file, ".jinja")).min_by_key(|file| {
        (file.name() != "chat_template.jinja", Reverse(file.directory().len()), &file.path)
    });
    let licenses = small().filter(|file| is_license(&file.name().to_ascii_lowercase()));
    Ok(Chosen {
        projector: projector.cloned(),
        template: template.cloned(),
        licenses: licenses.take(MAX_LICENSES).cloned().collect(),
        weights,
        warnings,
    })
}

/// Puts shards together, in the order of the first files' paths.
fn candidates<'a>(files: impl Iterator<Item = &'a HubFile>) -> Vec<Candidate<'a>> {
    let mut by_model: BTreeMap<(&str, usize), Vec<(usize, &HubFile)>> = BTreeMap::new();
    for file in files {
        let shard = ShardName::of(&file.path).filter(|shard| shard.count > 1);
        let (key, number) =
            shard.map_or(((file.path.as_str(), 1), 1), |s| ((s.stem, s.count), s.number));
        by_model.entry(key).or_default().push((number, file));
    }
    let mut candidates: Vec<Candidate<'_>> = by_model
        .into_iter()
        .map(|((path, count), mut files)| {
            files.sort_by_key(|(number, _)| *number);
            let path = files.first().map_or(path, |(_, file)| file.path.as_str());
            Candidate { path, files, count }
        })
        .collect();
    candidates.sort_by_key(|candidate| candidate.path);
    candidates
}

/// The best candidate for a word; where several are as good, the usual one of these.
fn pick<'a, 'b>(candidates: &'b [Candidate<'a>], word: Option<&str>) -> Option<&'b Candidate<'a>> {
    let ranked = |word: Option<&str>, candidate: &Candidate<'_>| match word {
        Some(word) => rank(&candidate.path.to_ascii_lowercase(), word),
        None => Some(0),
    };
    let best = candidates.iter().filter_map(|candidate| ranked(word, candidate)).min()?;
    candidates.iter().filter(|candidate| ranked(word, candidate) == Some(best)).min_by_key(
        |candidate| {
            let usual = rank(&candidate.path.to_ascii_lowercase(), USUAL_QUANTIZATION);
            (usual.is_none(), usual, candidate.path)
        },
    )
}

/// How well a lower-cased path holds a lower-cased word between delimiters: 0 where it stands by
/// itself, 1 where an underscore may make it part of a longer one (`q4_k` in `q4_k_m`).
fn rank(path: &str, word: &str) -> Option<u8> {
    let delimits = |c: Option<char>| match c {
        None | Some('-' | '.' | '/') => Some(0),
        Some('_') => Some(1),
        Some(_) => None,
    };
    let places = path.match_indices(word).filter_map(|(at, _)| {
        let before = path.get(..at)?.chars().next_back();
        let after = path.get(at.checked_add(word.len())?..)?.chars().next();
        Some(delimits(before)?.max(delimits(after)?))
    });
    if word.is_empty() { None } else { places.min() }
}

fn complete(candidate: &Candidate<'_>) -> Result<Vec<HubFile>> {
    let Candidate { path, files, count } = candidate;
    let invalid = |text: String| Err(Error::new(ErrorKind::InvalidModel, text));
    if *count > MAX_SHARDS {
        return invalid(format!("{path} has {count} shards, more than {MAX_SHARDS}"));
    }
    let there: BTreeSet<usize> = files.iter().map(|(number, _)| *number).collect();
    let missing: Vec<String> =
        (1..=*count).filter(|number| !there.contains(number)).map(|n| n.to_string()).collect();
    if !missing.is_empty() || files.len() != *count {
        let shown = missing.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        return invalid(format!(
            "the repository holds {} of the {count} shards of {path}; missing: {shown}",
            files.len()
        ));
    }
    Ok(files.iter().map(|(_, file)| (*file).clone()).collect())
}

fn no_gguf(files: &Files, name: &str) -> Error {
    let formats: Vec<&str> = files.formats.iter().copied().collect();
    let instead = match formats.as_slice() {
        [] => "no weights in any format that modeld knows of".to_owned(),
        formats => format!("its weights are in {}", formats.join(" and ")),
    };
    Error::new(
        ErrorKind::UnsupportedModel,
        format!(
            "{name} has no GGUF model, which modeld needs: {instead}; search for the model's name \
             with GGUF, others may have converted it"
        ),
    )
}

fn labels(candidates: &[Candidate<'_>]) -> String {
    let labels: BTreeSet<String> = candidates.iter().map(|c| label(c.path)).collect();
    let more = if labels.len() > SHOWN { ", …" } else { "" };
    labels.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ") + more
}

/// What a file is asked for by: its quantization, where the name tells, else the name itself.
fn label(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = ShardName::of(name).map_or(name, |shard| shard.stem);
    let stem = stem.strip_suffix(".gguf").unwrap_or(stem);
    // From the end: the quantization comes last, after versions and sizes.
    let words = stem.rsplit(['-', '.']);
    words.filter_map(quantization).next().unwrap_or_else(|| stem.to_owned())
}

/// The quantization at the end of a word: all of `Q4_K_M`, the end of `my_model_q8_0`.
fn quantization(word: &str) -> Option<String> {
    let word = word.to_ascii_uppercase();
    let starts = std::iter::once(0).chain(word.match_indices('_').map(|(at, _)| at + 1));
    let ends = starts.filter_map(|start| word.get(start..));
    let mut found = ends.filter(|end| {
        const FAMILIES: [&str; 8] = ["MXFP", "NVFP", "IQ", "TQ", "BF", "FP", "Q", "F"];
        let digits = FAMILIES.iter().find_map(|family| end.strip_prefix(family));
        digits.is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_digit())
                && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    });
    found.next().map(str::to_owned)
}

fn has_end(file: &HubFile, end: &str) -> bool {
    file.name().to_ascii_lowercase().ends_with(end)
}

fn is_projector(file: &HubFile) -> bool {
    file.name().to_ascii_lowercase().contains("mmproj")
}

/// Importance matrices, from which quantizations are made, are GGUF files as well.
fn is_matrix(file: &HubFile) -> bool {
    file.name().to_ascii_lowercase().contains("imatrix")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Files {
        let file = |path: &&str| HubFile { path: (*path).to_owned(), size: 1, sha256: None };
        Files { candidates: paths.iter().map(file).collect(), ..Files::default() }
    }

    fn chosen(paths: &[&str], tag: &str) -> Result<Chosen> {
        choose(&files(paths), tag, "hf.co/o/r")
    }

    fn weights(paths: &[&str], tag: &str) -> Vec<String> {
        chosen(paths, tag).unwrap().weights.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn a_tag_chooses_among_quantizations() {
        const USUAL: &[&str] =
            &["m-IQ4_XS.gguf", "m-Q4_0.gguf", "m-Q4_0_4_4.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"];
        const ODD: &[&str] = &["a.gguf", "b.gguf"];
        const LOWER: &[&str] = &["my_model_q4_k_m.gguf", "my_model_q4_k_s.gguf"];
        const DIRECTORIES: &[&str] = &["BF16/m.gguf", "Q8_0/m.gguf", "UD/m-UD-Q4_K_XL.gguf"];
        const SIZES: &[&str] = &["m-1B-Q4_K_M.gguf", "m-7B-Q2_K.gguf", "m-7B-Q4_K_M.gguf"];
        for (paths, tag, expected) in [
            (USUAL, "latest", "m-Q4_K_M.gguf"),
            (USUAL, "q8_0", "m-Q8_0.gguf"),
            (USUAL, "Q8", "m-Q8_0.gguf"),
            (USUAL, "Q4_0", "m-Q4_0.gguf"),
            (USUAL, "Q4_0_4_4", "m-Q4_0_4_4.gguf"),
            (USUAL, "Q4_K", "m-Q4_K_M.gguf"),
            (USUAL, "m-Q8_0.gguf", "m-Q8_0.gguf"),
            (ODD, "latest", "a.gguf"),
            (ODD, "b", "b.gguf"),
            (LOWER, "latest", "my_model_q4_k_m.gguf"),
            (LOWER, "Q4_K_S", "my_model_q4_k_s.gguf"),
            (DIRECTORIES, "Q8_0", "Q8_0/m.gguf"),
            (DIRECTORIES, "bf16", "BF16/m.gguf"),
            (DIRECTORIES, "Q4_K_XL", "UD/m-UD-Q4_K_XL.gguf"),
            (SIZES, "7B", "m-7B-Q4_K_M.gguf"),
        ] {
            assert_eq!(weights(paths, tag), [expected], "{tag} of {paths:?}");
        }
        for (paths, tag) in [(USUAL, "Q4_XS"), (USUAL, "Q4_1"), (USUAL, "4_0"), (ODD, "c")] {
            let error = chosen(paths, tag).unwrap_err();
            assert_eq!(error.kind, ErrorKind::RegistryNotFound, "{tag} of {paths:?}");
        }
        insta::assert_snapshot!(chosen(USUAL, "Q3_K").unwrap_err().message, @r#"hf.co/o/r has no GGUF file for "Q3_K"; it has IQ4_XS, Q4_0, Q4_0_4_4, Q4_K_M, Q8_0"#);
        insta::assert_snapshot!(chosen(LOWER, "Q3_K").unwrap_err().message, @r#"hf.co/o/r has no GGUF file for "Q3_K"; it has Q4_K_M, Q4_K_S"#);
        assert_eq!(chosen(USUAL, "Q8_0").unwrap().warnings.len(), 0);
        insta::assert_snapshot!(chosen(USUAL, "latest").unwrap().warnings.join("\n"), @"hf.co/o/r holds several models and Q4_K_M was taken; there is IQ4_XS, Q4_0, Q4_0_4_4, Q4_K_M, Q8_0");
    }

    #[test]
    fn all_shards_come_in_their_order() {
        let paths = &[
            "Q4_K_M/m-Q4_K_M-00002-of-00003.gguf",
            "Q4_K_M/m-Q4_K_M-00003-of-00003.gguf",
            "Q4_K_M/m-Q4_K_M-00001-of-00003.gguf",
            "m-Q2_K.gguf",
        ];
        let expected = [1, 2, 3].map(|n| format!("Q4_K_M/m-Q4_K_M-0000{n}-of-00003.gguf"));
        assert_eq!(weights(paths, "latest"), expected);
        assert_eq!(weights(paths, "Q2_K"), ["m-Q2_K.gguf"]);
        let error = chosen(&paths[1..], "Q4_K_M").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidModel);
        insta::assert_snapshot!(error.message, @"the repository holds 2 of the 3 shards of Q4_K_M/m-Q4_K_M-00001-of-00003.gguf; missing: 2");
        let error = chosen(&["m-00001-of-99999.gguf"], "latest").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidModel);
        // A number that is not in the set does not make up for one that is missing.
        let error = chosen(&["m-00000-of-00002.gguf", "m-00001-of-00002.gguf"], "latest");
        assert_eq!(error.unwrap_err().kind, ErrorKind::InvalidModel);
        assert_eq!(weights(&["m-00001-of-00001.gguf"], "latest"), ["m-00001-of-00001.gguf"]);
    }

    #[test]
    fn one_projector_and_one_template_come_along() {
        let with = |others: &[&str]| {
            let all = [&["m.gguf"], others].concat();
            let chosen = chosen(&all, "latest").unwrap();
            assert_eq!(chosen.weights[0].path, "m.gguf");
            (chosen.projector.map(|f| f.path), chosen.template.map(|f| f.path))
        };
        let some = |path: &str| Some(path.to_owned());
        assert_eq!(with(&["imatrix.gguf"]), (None, None));
        let both = &["mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"];
        assert_eq!(with(both).0, some("mmproj-F16.gguf"));
        assert_eq!(with(&["mmproj-bf16.gguf", "mmproj-Q8_0.gguf"]).0, some("mmproj-bf16.gguf"));
        assert_eq!(with(&["mmproj-b.gguf", "mmproj-a.gguf"]).0, some("mmproj-a.gguf"));
        assert_eq!(with(&["x/mmproj-f16.gguf", "mmproj-q8.gguf"]).0, some("mmproj-q8.gguf"));
        assert_eq!(
            with(&["a.jinja", "chat_template.jinja", "tools/x.jinja"]).1,
            some("chat_template.jinja")
        );
        assert_eq!(with(&["tools/x.jinja"]).1, None);
    }

    #[test]
    fn licences_come_along_and_nothing_else() {
        let all = ["m.gguf", "LICENSE", "README.md", "licence.txt", "other/LICENSE"];
        let licenses = chosen(&all, "latest").unwrap().licenses;
        let paths: Vec<&str> = licenses.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["LICENSE", "licence.txt"]);
    }

    #[test]
    fn a_repository_without_gguf_is_refused_by_what_it_has() {
        for formats in [&[][..], &["PyTorch", "safetensors"]] {
            let files = Files { formats: formats.iter().copied().collect(), ..files(&["LICENSE"]) };
            let error = choose(&files, "latest", "hf.co/o/r").unwrap_err();
            assert_eq!(error.kind, ErrorKind::UnsupportedModel);
            assert!(formats.iter().all(|format| error.message.contains(format)), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_paths_and_tag_are_chosen_from_or_refused(
            paths in proptest::collection::vec("[a-cQ0-9_./é-]{0,12}(-0000[0-3]-of-0000[0-3])?.gguf", 0..6),
            tag in "[a-cQ0-9_.-]{0,5}"
        ) {
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            if let Ok(chosen) = chosen(&paths, &tag) {
                proptest::prop_assert!(!chosen.weights.is_empty());
            }
        }
    }
}
