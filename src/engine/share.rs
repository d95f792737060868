//! Shares kept, not drawn at random: who has the first place at draw number k.
//!
//! Weights with a small sum (after division by their greatest common divisor) become a table as long as that sum, made by
//! Tijdeman's rule for the chairman assignment problem (R. Tijdeman, "The chairman assignment problem", Discrete
//! Mathematics 32, 1980): after any number of draws each member's count differs from its share by less than one, so over
//! any window by less than two. Larger sums use a tree of two-way splits with the rounding of Bresenham's line, which needs
//! no table; its error over a window stays below three.

/// Longest table; 128 KiB.
const MAX_TABLE: u64 = 65_536;
/// Most steps to make one, a millisecond or two: what is longer would hold up publishing.
const MAX_STEPS: u64 = 1 << 19;

/// Who is first at each draw.
#[derive(Debug, Clone, PartialEq)]
pub enum Firsts {
    /// One entry a draw, repeated.
    Table(Box<[u16]>),
    /// Splits, the root last.
    Tree {
        /// Sum of the weights: the period.
        total: u64,
        /// Inner nodes.
        splits: Box<[Split]>,
    },
}

/// One two-way split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    left_weight: u64,
    right_weight: u64,
    left: Branch,
    right: Branch,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Branch {
    Member(u16),
    Split(u32),
}

impl Firsts {
    /// Prepares `weights`, all above zero, at most 65,535 of them. Empty weights give an empty table.
    pub fn new(weights: &[u16]) -> Firsts {
        let divisor = weights.iter().fold(0, |divisor, &weight| gcd(divisor, u64::from(weight))).max(1);
        let weights: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) / divisor).collect();
        let total: u64 = weights.iter().sum();
        if total <= MAX_TABLE && total * weights.len() as u64 <= MAX_STEPS {
            Firsts::Table(chairman(&weights, total))
        } else {
            tree(&weights, total)
        }
    }

    /// Each member's share of the draws.
    pub fn shares(&self) -> Vec<f64> {
        let (counts, total) = match self {
            Firsts::Table(table) => {
                let mut counts = vec![0u64; table.iter().max().map_or(0, |&last| usize::from(last) + 1)];
                table.iter().for_each(|&member| counts[usize::from(member)] += 1);
                (counts, table.len() as u64)
            }
            Firsts::Tree { total, splits } => {
                let mut counts = vec![0u64; splits.len() + 1];
                for split in splits {
                    for (branch, weight) in [(split.left, split.left_weight), (split.right, split.right_weight)] {
                        if let Branch::Member(member) = branch {
                            counts[usize::from(member)] = weight;
                        }
                    }
                }
                (counts, *total)
            }
        };
        counts.into_iter().map(|count| count as f64 / total as f64).collect()
    }

    /// The member that is first at that draw.
    pub fn at(&self, draw: u32) -> usize {
        match self {
            Firsts::Table(table) if table.is_empty() => 0,
            Firsts::Table(table) => usize::from(table[(draw % table.len() as u32) as usize]),
            Firsts::Tree { total, splits } => {
                let mut index = u64::from(draw) % total;
                let mut at = splits.len() - 1;
                loop {
                    let split = &splits[at];
                    let whole = split.left_weight + split.right_weight;
                    // Left places among the first `index`, rounded to the nearest.
                    let left_of = |index: u64| (index * split.left_weight + whole / 2) / whole;
                    let lefts = left_of(index);
                    let branch = if left_of(index + 1) > lefts {
                        index = lefts;
                        split.left
                    } else {
                        index -= lefts;
                        split.right
                    };
                    match branch {
                        Branch::Member(member) => return usize::from(member),
                        Branch::Split(next) => at = next as usize,
                    }
                }
            }
        }
    }
}

/// Tijdeman's rule: of those whose share has come due, the one whose deadline is earliest. Exact in integers: all times are
/// multiplied by 2(n-1) and by the total.
fn chairman(weights: &[u64], total: u64) -> Box<[u16]> {
    let members = weights.len();
    if members <= 1 {
        return vec![0; members].into();
    }
    let slack = 2 * (members as u64 - 1);
    let mut given = vec![0u64; members];
    (1..=total)
        .map(|place| {
            let mut best: Option<(usize, u64)> = None;
            for (member, &weight) in weights.iter().enumerate() {
                // Due: weight/total x place - given >= 1/slack.
                if weight * place * slack < (given[member] * slack + 1) * total {
                    continue;
                }
                // Deadline: (given + 1 - 1/slack) x total / weight; compared by cross-multiplication.
                let numerator = (given[member] + 1) * slack - 1;
                let earlier = match best {
                    None => true,
                    Some((rival, rival_numerator)) => numerator * weights[rival] < rival_numerator * weight,
                };
                if earlier {
                    best = Some((member, numerator));
                }
            }
            // Tijdeman proves that one is always due; were the proof misread, the most behind would be taken.
            let chosen = best.map_or_else(
                || (0..members).max_by_key(|&m| (weights[m] * place) as i64 - (given[m] * total) as i64).unwrap_or(0),
                |(member, _)| member,
            );
            given[chosen] += 1;
            chosen as u16
        })
        .collect()
}

/// Joins the two lightest until one is left (Huffman's order keeps heavy members near the root, and the error small).
fn tree(weights: &[u64], total: u64) -> Firsts {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    let mut heap: BinaryHeap<Reverse<(u64, usize, bool)>> =
        weights.iter().enumerate().map(|(member, &weight)| Reverse((weight, member, true))).collect();
    let mut splits = Vec::with_capacity(weights.len());
    let branch = |index: usize, member: bool| {
        if member { Branch::Member(index as u16) } else { Branch::Split(index as u32) }
    };
    while let (Some(Reverse((light, light_at, light_member))), Some(Reverse((heavy, heavy_at, heavy_member)))) =
        (heap.pop(), heap.pop())
    {
        splits.push(Split {
            left_weight: heavy,
            right_weight: light,
            left: branch(heavy_at, heavy_member),
            right: branch(light_at, light_member),
        });
        if heap.is_empty() {
            break;
        }
        heap.push(Reverse((light + heavy, splits.len() - 1, false)));
    }
    if splits.is_empty() {
        return Firsts::Table(vec![0; weights.len()].into());
    }
    Firsts::Tree { total, splits: splits.into() }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest deviation from the share over every window that begins and ends within `draws` draws.
    fn worst_window(weights: &[u16], draws: u32) -> f64 {
        let firsts = Firsts::new(weights);
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let mut counts = vec![0f64; weights.len()];
        let mut high = vec![0f64; weights.len()];
        let mut low = vec![0f64; weights.len()];
        for draw in 0..draws {
            counts[firsts.at(draw)] += 1.0;
            for (member, &weight) in weights.iter().enumerate() {
                let error = counts[member] - f64::from(draw + 1) * f64::from(weight) / total;
                high[member] = high[member].max(error);
                low[member] = low[member].min(error);
            }
        }
        (0..weights.len()).map(|member| high[member] - low[member]).fold(0.0, f64::max)
    }

    #[test]
    fn any_window_is_within_two_answers_of_the_share() {
        let mut seed = 7u64;
        for members in 1..24usize {
            for _ in 0..12 {
                let weights: Vec<u16> = (0..members)
                    .map(|_| {
                        seed = super::super::draw::mix(seed);
                        1 + (seed % 97) as u16
                    })
                    .collect();
                let worst = worst_window(&weights, 6000);
                assert!(worst < 2.0, "{weights:?}: {worst}");
            }
        }
        for weights in [&[1u16, 1][..], &[3, 1], &[1, 1, 1, 997], &[5, 3, 2], &[1; 300], &[4643, 1210, 8467, 6159]] {
            assert!(worst_window(weights, 60_000) < 2.0, "{weights:?}");
        }
    }

    #[test]
    fn a_period_gives_each_exactly_its_weight() {
        let weights = [7u16, 2, 1, 13];
        let firsts = Firsts::new(&weights);
        let mut counts = [0u16; 4];
        (0..23).for_each(|draw| counts[firsts.at(draw)] += 1);
        assert_eq!(counts, weights);
        assert_eq!(firsts.shares(), weights.map(|weight| f64::from(weight) / 23.0));
        let large = [65535u16, 65534, 1, 40000];
        assert_eq!(Firsts::new(&large).shares(), large.map(|weight| f64::from(weight) / 171_070.0));
    }

    #[test]
    fn large_sums_stay_within_three() {
        for weights in [&[65535u16, 65534, 1, 40000][..], &[60000, 30001, 7], &[49999, 49998, 49997, 49996, 49995]] {
            assert!(matches!(Firsts::new(weights), Firsts::Tree { .. }));
            let worst = worst_window(weights, 200_000);
            assert!(worst < 3.0, "{weights:?}: {worst}");
        }
    }
}
