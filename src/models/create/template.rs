use crate::domain::{Error, ErrorKind, Result};

/// Words that begin an action of Go's template language and no expression of Jinja's.
const GO_WORDS: [&str; 9] =
    ["if", "else", "end", "range", "with", "define", "template", "block", "break"];

/// Whether a text is a template in Go's language: Jinja writes statements as `{% … %}`, and no
/// expression of its begins with a dot or a dollar sign.
pub(super) fn is_go(template: &str) -> bool {
    template.split("{{").skip(1).any(|action| {
        let action = action.strip_prefix('-').unwrap_or(action).trim_start();
        let word = action.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
        action.starts_with(['.', '$'])
            || action.starts_with("/*")
            || word.is_some_and(|word| GO_WORDS.contains(&word))
    })
}

/// What is said of one that cannot be rendered.
pub(super) fn refuse_go() -> Error {
    let message = "`template` is in Go's template language, which modeld does not render: prompts \
                   are made with the model's own Jinja chat template; leave `template` out, or send \
                   one in Jinja";
    Error::new(ErrorKind::Unsupported, message).with_param("template")
}

/// One without a place for messages would make every prompt the same.
pub(super) fn require_placeholders(template: &str) -> Result<()> {
    if template.contains("{{") || template.contains("{%") {
        return Ok(());
    }
    let message = "`template` has no place for messages: neither `{{ … }}` nor `{% … %}` is in it; \
                   a text that always comes first belongs into `system`";
    Err(Error::invalid("template", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_languages_are_told_apart() {
        for go in [
            "{{ .Prompt }}",
            "{{- if .System }}x{{ end }}",
            "{{range $i, $_ := .Messages}}a{{end}}",
            "{{- $last := 1 -}}",
            "{{- /* note */ -}}",
            "x {{else}} y",
        ] {
            assert!(is_go(go), "{go}");
        }
        for jinja in [
            "{{ messages }}",
            "{% if x %}{{ endpoint }}{% endif %}",
            "{{- bos_token }}{{ 'if' }}",
            "{{ range_of }}",
            "{{ '.' ~ x }}",
            "plain",
            "",
            "{{",
        ] {
            assert!(!is_go(jinja), "{jinja}");
        }
        assert!(require_placeholders("{% for m in messages %}").is_ok());
        assert!(require_placeholders("Be kind.").is_err());
    }
}
