//! Values become one table beside what they should be, and a JSON file.

use std::fmt;

use serde_json::{Value, json};

/// What a value should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    /// Shown, not judged.
    None,
}

#[derive(Debug)]
struct Row {
    scene: String,
    what: String,
    /// One value for each round; the median is judged.
    values: Vec<f64>,
    goal: Goal,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds one round's value; `what` ends with the unit.
    pub(crate) fn add(&mut self, (scene, what): (&str, &str), goal: Goal, value: f64) {
        match self.rows.iter_mut().find(|it| it.scene == scene && it.what == what) {
            Some(row) => row.values.push(value),
            None => self.rows.push(Row {
                scene: scene.to_owned(),
                what: what.to_owned(),
                values: vec![value],
                goal,
            }),
        }
    }

    pub(crate) fn json(&self, about: &Value) -> Value {
        let row = |it: &Row| {
            json!({
                "scene": it.scene, "what": it.what, "rounds": it.values, "median": it.median(),
                "goal": match it.goal { Goal::AtMost(most) => json!(most), Goal::None => Value::Null },
                "reached": it.reached(),
            })
        };
        json!({ "about": about, "rows": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

impl Row {
    fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }

    fn reached(&self) -> Option<bool> {
        match self.goal {
            Goal::AtMost(most) => Some(self.median() <= most),
            Goal::None => None,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10} {:<46} {:>12} {:>10}", "scene", "", "median", "goal")?;
        let mut last = "";
        for row in &self.rows {
            let scene = if row.scene == last { "" } else { &row.scene };
            last = &row.scene;
            write!(f, "{scene:<10} {:<46} {:>12}", row.what, short(row.median()))?;
            if let Goal::AtMost(most) = row.goal {
                write!(f, " {:>10}", format!("<= {}", short(most)))?;
            }
            f.write_str(match row.reached() {
                Some(true) => "  reached",
                Some(false) => "  MISSED",
                None => "",
            })?;
            let least = row.values.iter().copied().reduce(f64::min).unwrap_or(0.0);
            let most = row.values.iter().copied().reduce(f64::max).unwrap_or(0.0);
            if row.values.len() > 1 {
                write!(f, "  ({}..{})", short(least), short(most))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        it if it >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        it if it >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
