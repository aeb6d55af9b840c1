//! Values become one table with paired ratios, and a JSON file.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::peers::Kind;

/// Which way a value is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
    /// Shown, not compared.
    Neither,
}

#[derive(Debug)]
struct Row {
    scene: &'static str,
    metric: &'static str,
    better: Better,
    /// One value for each round.
    values: Vec<(Kind, Vec<f64>)>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds one round's value of (scene, metric).
    pub(crate) fn add(
        &mut self,
        (scene, metric): (&'static str, &'static str),
        better: Better,
        kind: Kind,
        value: f64,
    ) {
        let at = self.rows.iter().position(|it| it.scene == scene && it.metric == metric);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row { scene, metric, better, values: Vec::new() });
            self.rows.len() - 1
        });
        let Some(row) = self.rows.get_mut(at) else { return };
        match row.values.iter_mut().find(|it| it.0 == kind) {
            Some((_, rounds)) => rounds.push(value),
            None => row.values.push((kind, vec![value])),
        }
    }

    /// The table: medians, and the gate's ratio to the better peer of each round.
    pub(crate) fn table(&self, kinds: &[Kind]) -> String {
        let mut text = format!("{:<12} {:<30}", "scene", "");
        for kind in kinds {
            let _ = write!(text, "{:>12}", kind.name());
        }
        text.push_str("   headgate / better peer (min..max)\n");
        let mut last = "";
        for row in &self.rows {
            let scene = if row.scene == last { "" } else { row.scene };
            last = row.scene;
            let _ = write!(text, "{scene:<12} {:<30}", row.metric);
            for kind in kinds {
                let shown =
                    row.rounds(*kind).map_or_else(|| "-".to_owned(), |it| short(median(it)));
                let _ = write!(text, "{shown:>12}");
            }
            if let Some((mid, min, max)) = row.ratio() {
                let _ = write!(text, "   {mid:.2} ({min:.2}..{max:.2})");
            }
            text.push('\n');
        }
        text
    }

    /// All values of all rounds.
    pub(crate) fn json(&self, about: &Value) -> Value {
        let row = |it: &Row| {
            let values: serde_json::Map<String, Value> =
                it.values.iter().map(|(kind, all)| (kind.name().to_owned(), json!(all))).collect();
            let ratio =
                it.ratio().map(|(mid, min, max)| json!({"median": mid, "min": min, "max": max}));
            json!({"scene": it.scene, "metric": it.metric, "rounds": values, "ratio": ratio})
        };
        json!({"about": about, "rows": self.rows.iter().map(row).collect::<Vec<_>>()})
    }
}

impl Row {
    fn rounds(&self, kind: Kind) -> Option<&[f64]> {
        self.values.iter().find(|it| it.0 == kind).map(|it| it.1.as_slice())
    }

    /// Median, least and most of the gate's value over the better peer's of the same round.
    fn ratio(&self) -> Option<(f64, f64, f64)> {
        let gate = self.rounds(Kind::Gate)?;
        let better = |round: usize| {
            let peers = [Kind::Nginx, Kind::Haproxy].into_iter();
            let there = peers.filter_map(|it| self.rounds(it)?.get(round).copied());
            match self.better {
                Better::Less => there.reduce(f64::min),
                Better::More => there.reduce(f64::max),
                Better::Neither => None,
            }
        };
        let ratios: Vec<f64> = gate
            .iter()
            .enumerate()
            .filter_map(|(round, it)| Some(it / better(round)?).filter(|it| it.is_finite()))
            .collect();
        let least = ratios.iter().copied().reduce(f64::min)?;
        let most = ratios.iter().copied().reduce(f64::max)?;
        Some((median(&ratios), least, most))
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mid = sorted.len() / 2;
    match (sorted.get(mid), sorted.len() % 2) {
        (Some(upper), 0) => f64::midpoint(*upper, sorted.get(mid - 1).copied().unwrap_or(*upper)),
        (Some(middle), _) => *middle,
        (None, _) => 0.0,
    }
}

fn short(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}
