use crate::domain::ModelRef;

use super::candidate::Name;

/// A name that registries would take, from a file's or directory's: lower case, and `-` for all
/// that is not allowed.
pub(super) fn component(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let kept = lower.chars().map(|c| match c {
        'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
        _ => '-',
    });
    let kept: String = kept.collect();
    // Separators stand between letters, one at a time.
    let mut clean = String::with_capacity(kept.len());
    for c in kept.chars() {
        if c.is_ascii_alphanumeric() || clean.ends_with(|last: char| last.is_ascii_alphanumeric()) {
            clean.push(c);
        }
    }
    let clean = clean.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    if clean.is_empty() { "model".to_owned() } else { clean.chars().take(100).collect() }
}

/// A tag, from a quantisation's or a file's name.
pub(super) fn tag(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .take(128)
        .collect();
    let kept = kept.trim_start_matches(['.', '-']);
    if kept.is_empty() { "latest".to_owned() } else { kept.to_owned() }
}

/// The qualified tag of a model of files.
pub(super) fn qualified(name: &Name, quantization: &str) -> Option<String> {
    let text = match name {
        Name::Tag(tag) => tag.clone(),
        Name::Repository(repository) => format!("{repository}:{}", tag(quantization)),
    };
    ModelRef::named(&text).ok()?.qualified_tag()
}

/// `Llama-3.2-1B-Q4_K_M` without the quantisation that a tag says.
pub(super) fn without_quantization(stem: &str) -> &str {
    let is_quantization = |part: &str| {
        let upper = part.to_ascii_uppercase();
        let digits = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        upper.strip_prefix("IQ").or_else(|| upper.strip_prefix('Q')).is_some_and(digits)
            || matches!(upper.as_str(), "F16" | "F32" | "BF16" | "FP16" | "MXFP4")
    };
    match stem.rsplit_once(['-', '.']) {
        Some((rest, last)) if !rest.is_empty() && is_quantization(last) => rest,
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_names_of_registries() {
        for (text, name) in
            [("Llama 3.2 (1B)", "llama-3.2-1b"), ("--x__y..z-", "x_y.z"), ("日本", "model")]
        {
            assert_eq!(component(text), name, "{text}");
        }
        for (stem, rest) in [
            ("Llama-3.2-1B-Q4_K_M", "Llama-3.2-1B"),
            ("smollm2.IQ3_XS", "smollm2"),
            ("model-f16", "model"),
            ("qwen-7B", "qwen-7B"),
            ("Q4_0", "Q4_0"),
        ] {
            assert_eq!(without_quantization(stem), rest, "{stem}");
        }
    }

    proptest! {
        #[test]
        fn every_text_gives_a_name(text in "\\PC{0,200}", quantization in "\\PC{0,40}") {
            let repository = format!("localhost/{}", component(&text));
            prop_assert!(qualified(&Name::Repository(repository), &quantization).is_some());
        }
    }
}
