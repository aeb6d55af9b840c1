//! Bodies that are hard to read: escapes, white space, members before, cuts behind.

use crate::plugin::agreement::Random;
use crate::plugin::agreement::windows::Known;

/// Values that stand in bodies, as they are written there.
pub(super) const WRITTEN: [&str; 34] = [
    r#""OK""#,
    r#""ok""#,
    r#""O\u004b""#,
    r#""""#,
    r#""Maintenance mode is enabled""#,
    r#""a\"b\\c\/d\b\f\n\r\t""#,
    r#""\u00e9\ud83d\ude00""#,
    r#""\ud83d""#,
    r#""\ude00\ud83d""#,
    r#""\u12g4""#,
    r#""\x""#,
    "\"raw\u{1}\"",
    "\"tab\t\"",
    r#""é😀""#,
    "7",
    "07",
    "-7",
    "-0",
    "7.0",
    "7e0",
    "+7",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "true",
    "false",
    "null",
    "True",
    "[]",
    "[1,{\"status\":\"OK\"}]",
    "{\"status\":\"OK\"}",
    "[1,]",
    "{,}",
    "",
];

/// A body that is not what is expected, or none.
pub(super) fn bad_body(known: &Known, random: &mut Random) -> Option<String> {
    match random.below(10) {
        0 => None,
        1 => Some(
            random
                .pick(&["", "OK", "<html>", "[]", "null", "{}", "{", " {\"status\"", "\u{feff}{}"])
                .to_owned(),
        ),
        2 => {
            // Cut before the value is whole.
            let whole = body(known, &known.expected.to_string(), random);
            let end = random.below(whole.len() as u64 / 2);
            let end =
                (0..=usize::try_from(end).unwrap()).rev().find(|it| whole.is_char_boundary(*it));
            whole.get(..end?).map(str::to_owned)
        }
        _ => {
            let value = random.pick(&WRITTEN);
            Some(body(known, value, random))
        }
    }
}

/// A body with a value at the path: members before it, white space, escaped names, and a cut behind it.
pub(super) fn body(known: &Known, value: &str, random: &mut Random) -> String {
    let path = known.path.as_deref().unwrap_or("$.status");
    let mut text = space(random).to_owned();
    for name in path.split('.').skip(1) {
        text.push('{');
        for at in 0..random.below(3) {
            let before = random.pick(&[
                "1",
                "-1.5e+3",
                "true",
                "\"}{\\\"\"",
                "[[[]],{\"a\":[1,2]}]",
                "{\"status\":0}",
                "null",
            ]);
            let deep = if random.chance(3) { "[".repeat(33) } else { String::new() };
            text.push_str(&format!(
                "{}\"m{at}\"{}:{deep}{before}{},",
                space(random),
                space(random),
                space(random)
            ));
        }
        let name = if random.chance(10) { escaped(name) } else { name.to_owned() };
        text.push_str(&format!("{}\"{name}\"{}:{}", space(random), space(random), space(random)));
    }
    text.push_str(value);
    text.push_str(random.pick(&[
        "}",
        "}}}",
        ",",
        " ",
        "\n,\"status\":\"late\"}",
        ",\"x\":garbage",
        ",\"timestamp\":\"2026-",
    ]));
    text
}

fn escaped(name: &str) -> String {
    name.chars().map(|it| format!("\\u{:04X}", u32::from(it))).collect()
}

fn space(random: &mut Random) -> &'static str {
    random.pick(&["", "", "", " ", "\n\t", "\r\n "])
}
