//! A table of plain values that is read at random places: in memory of its own, on huge pages where the system has them.
//!
//! A million names fill more than twenty thousand ordinary pages, of which the processor remembers some two thousand: nearly every
//! look-up of a rare name then waits for the page tables, in a virtual machine for those of the host too, before it waits
//! for the name itself. On pages of 2 MiB all of the table is remembered. Linux gives them where
//! `/sys/kernel/mm/transparent_hugepage/enabled` says `always` or `madvise`; elsewhere nothing is lost.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Smaller tables lie in ordinary memory, octets, if they would waste much of a huge page.
const LARGE: usize = 4 << 20;
/// Octets of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// A fixed number of values, all zeros at first.
pub(super) enum Table<T> {
    Small(Box<[T]>),
    Large(MmapMut, PhantomData<T>),
}

/// Octets to map for so many: whole huge pages, where a quarter at most stays unused. `None` for small tables.
fn to_map(size: usize) -> Option<usize> {
    let whole = size.checked_next_multiple_of(HUGE_PAGE)?;
    match size / 3 >= whole / 4 {
        true => Some(whole).filter(|&whole| whole > 0),
        false => Some(size).filter(|&size| size >= LARGE),
    }
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Table<T> {
    /// `count` values whose octets are all zero, or more where they fill a page that would be unused. The size of a value is a
    /// power of two.
    pub(super) fn zeroed(count: usize) -> Table<T> {
        let size = count.saturating_mul(size_of::<T>());
        if let Some(size) = to_map(size)
            && let Ok(memory) = MmapMut::map_anon(size)
        {
            #[cfg(target_os = "linux")]
            let _ = memory.advise(memmap2::Advice::HugePage);
            return Table::Large(memory, PhantomData);
        }
        // Also where a mapping is refused.
        Table::Small((0..count).map(|_| T::new_zeroed()).collect())
    }
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Deref for Table<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Table::Small(values) => values,
            // A mapping begins on a page and has whole values: it always fits.
            Table::Large(memory, _) => <[T]>::ref_from_bytes(memory).unwrap_or_default(),
        }
    }
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Table::Small(values) => values,
            Table::Large(memory, _) => <[T]>::mut_from_bytes(memory).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_has_whole_huge_pages_where_little_of_them_is_wasted() {
        let mib = 1 << 20;
        assert_eq!(to_map(0), None);
        assert_eq!(to_map(mib), None);
        assert_eq!(to_map(3 * mib / 2), Some(2 * mib));
        assert_eq!(to_map(2 * mib), Some(2 * mib));
        assert_eq!(to_map(2 * mib + 1), None);
        assert_eq!(to_map(4 * mib + 1), Some(4 * mib + 1));
        assert_eq!(to_map(97 * mib), Some(98 * mib));
        assert_eq!(to_map(usize::MAX), None);
    }

    #[test]
    fn tables_of_any_size_hold_what_is_written() {
        for count in [0, 1, 1000, 200_000, LARGE / 8, LARGE / 8 + 12_345, LARGE / 8 * 3 - 5] {
            let mut table = Table::<u64>::zeroed(count);
            assert!((count..count + HUGE_PAGE / 8).contains(&table.len()));
            assert!(table.iter().all(|&value| value == 0));
            for (value, number) in table.iter_mut().zip(7..) {
                *value = number;
            }
            assert!(table.iter().zip(7..).all(|(&value, number)| value == number));
        }
    }
}
