//! What must hold of every manifest; the fuzz targets and the property tests share it.

use mibe_recipe::{Dialect, Recipe, Summary, convert_text};

fn summary(bytes: &[u8], dialect: Dialect) -> Option<Summary> {
    let outcome = match dialect {
        Dialect::Shell => Recipe::of_manifests(Some(bytes), None),
        Dialect::Json => Recipe::of_manifests(None, Some(bytes)),
    };
    outcome.ok().map(|outcome| outcome.recipe.summary())
}

/// Compared as text, so that the fuzz targets need no more than the library.
fn compared(summary: &Summary) -> String {
    format!("{summary:?}")
}

/// Converts there and back; each time the recipe must be the same.
pub fn to_and_fro(text: &[u8], from: Dialect) {
    let Some(first) = summary(text, from) else {
        return;
    };
    let there = convert_text(text, from)
        .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(text)));
    let second = summary(there.text.as_bytes(), from.other());
    assert_eq!(
        second.as_ref().map(compared),
        Some(compared(&first)),
        "{}",
        there.text
    );
    let back = convert_text(there.text.as_bytes(), from.other()).unwrap();
    assert_eq!(
        summary(back.text.as_bytes(), from).as_ref().map(compared),
        Some(compared(&first)),
        "{}",
        back.text
    );
    // After one round the way of writing has settled.
    let there = convert_text(back.text.as_bytes(), from).unwrap();
    let again = convert_text(there.text.as_bytes(), from.other()).unwrap();
    assert_eq!(again.text, back.text);
}
