use super::graph::Graph;
use super::read::read;
use crate::schema::SchemaFault;

/// The longest grammar that llama.cpp derives from tools, in bytes.
pub const MAX_DERIVED_GBNF: usize = 4 << 20;

/// Whether llama.cpp can be given this grammar, whose root is the rule `root`.
///
/// # Errors
/// A [`SchemaFault`] that names the rule at fault.
pub fn check_gbnf(text: &str, max_bytes: usize) -> Result<(), SchemaFault> {
    if text.len() > max_bytes {
        return Err(SchemaFault::whole(format!(
            "a grammar of {} bytes is over the limit of {max_bytes}",
            text.len()
        )));
    }
    if text.contains('\0') {
        return Err(SchemaFault::whole("a grammar cannot hold the character U+0000"));
    }
    let rules = read(text)?;
    match rules.iter().find(|rule| rule.name == "root") {
        Some(root) if root.defined => {}
        _ => return Err(SchemaFault::whole("the grammar has no rule named root")),
    }
    if let Some(missing) = rules.iter().find(|rule| !rule.defined) {
        return Err(SchemaFault::whole(format!(
            "the grammar uses the rule {} and does not define it",
            missing.name
        )));
    }
    let graph = Graph::of(&rules);
    if let Some(rule) = graph.left_recursive().and_then(|at| rules.get(at)) {
        return Err(SchemaFault::whole(format!(
            "the rule {} begins with itself (left recursion); put what repeats behind something \
             that is never empty, or use *",
            rule.name
        )));
    }
    if let Some(rule) = graph.fans_out().and_then(|at| rules.get(at)) {
        return Err(SchemaFault::whole(format!(
            "the rule {} can begin in too many ways; let fewer alternatives begin with the same rule",
            rule.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        check_gbnf(text, 64 << 10).expect_err(text).message
    }

    #[test]
    fn ordinary_grammars_pass() {
        for text in [
            "root ::= \"yes\" | \"no\"",
            "root ::= object # a comment (((\nobject ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\"\n\
             pair ::= [a-z]+ \":\" value\nvalue ::= object | [0-9]+ | \"\\\"\" [^\"\\\\]* \"\\\"\"\n\
             ws ::= [ \\t\\n]*",
            "root ::= (\n  \"a\"\n  | \"b\" root\n)",
            "root ::= <think> (!</think>)* </think> <[12]> .",
            "root ::= a{2} a{2,} a{0,5}\na ::= \"x\"",
            // Empty within a repetition: no growth.
            "root ::= (\"a\"* \"b\"*)* \"c\"",
            "root ::= \"a\" root \"b\" | \"\"",
            "root-1 ::= [\\]\\[x-]\nroot ::= root-1",
        ] {
            assert_eq!(check_gbnf(text, 64 << 10), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_would_hang_or_crash_names_its_rule() {
        for (text, words) in [
            ("", "no rule named root"),
            ("a ::= \"x\"", "no rule named root"),
            ("root ::= missing", "missing"),
            ("root ::= root \"x\" | \"y\"", "left recursion"),
            ("root ::= a\na ::= b \"x\"\nb ::= a | \"y\"", "left recursion"),
            // The rule before it is empty in two steps.
            ("root ::= b root \"x\" | \"y\"\nb ::= c\nc ::= \"\"", "left recursion"),
            ("root ::= \"a\"{5,2}", "{5,2}"),
            ("root ::= ((\"a\"{1000}){1000}){1000}", "too large"),
            ("root ::= \"a", "not closed"),
            ("root ::= [a", "not closed"),
            ("root ::= (\"a\"", "not closed"),
            ("root ::= \"a\")", "bracket"),
            ("root ::= *", "nothing to repeat"),
            ("root ::= \"a\" ::= \"b\"", "':'"),
            ("root ::= \"a\0b\"", "U+0000"),
            ("root ::= %", "'%'"),
        ] {
            assert!(fault(text).contains(words), "{text}: {}", fault(text));
        }
        let deep = format!("root ::= {}\"a\"{}", "(".repeat(200_000), ")".repeat(200_000));
        assert!(check_gbnf(&deep, 64 << 10).expect_err("long").message.contains("65536"), "size");
        let nested = format!("root ::= {}\"a\"{}", "(".repeat(1000), ")".repeat(1000));
        assert!(fault(&nested).contains("deeper"));
    }

    #[test]
    fn rules_that_double_are_counted_without_following_them() {
        let mut text = "root ::= r0\n".to_owned();
        for n in 0..60 {
            text += &format!("r{n} ::= r{} \"x\" | r{} \"y\"\n", n + 1, n + 1);
        }
        text += "r60 ::= \"z\"";
        assert!(fault(&text).contains("too many ways"));
    }

    #[test]
    fn long_chains_are_read_without_recursion() {
        let mut text = "root ::= r0\n".to_owned();
        for n in 0..4000 {
            text += &format!("r{n}::=r{}\n", n + 1);
        }
        text += "r4000::=\"z\"";
        assert_eq!(check_gbnf(&text, 64 << 10), Ok(()));
    }
}
