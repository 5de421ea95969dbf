//! A whole tree in little memory: names and stamps, a folder before its content.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Rows in depth-first order, siblings sorted by the bytes of their names. A row knows its name
/// and its depth only; a [`Cursor`] puts the paths together. The first row is the root, with an
/// empty name and depth 0.
#[derive(Debug, Clone)]
pub(crate) struct PathTable<T> {
    names: Vec<u8>,
    rows: Vec<Row<T>>,
}

#[derive(Debug, Clone)]
struct Row<T> {
    start: u32,
    len: u16,
    depth: u16,
    value: T,
}

impl<T> Default for PathTable<T> {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            rows: Vec::new(),
        }
    }
}

impl<T> PathTable<T> {
    /// How many bytes a row takes, without its name.
    #[cfg(test)]
    pub(crate) const ROW: usize = size_of::<Row<T>>();

    pub(crate) fn with_capacity(rows: usize, names: usize) -> Self {
        Self {
            names: Vec::with_capacity(names),
            rows: Vec::with_capacity(rows),
        }
    }

    /// Adds a row; `false` when the tree is larger than a table can be.
    #[must_use]
    pub(crate) fn push(&mut self, depth: usize, name: &[u8], value: T) -> bool {
        let (Ok(start), Ok(len), Ok(depth)) = (
            u32::try_from(self.names.len()),
            u16::try_from(name.len()),
            u16::try_from(depth),
        ) else {
            return false;
        };
        self.names.extend_from_slice(name);
        self.rows.push(Row {
            start,
            len,
            depth,
            value,
        });
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn name(&self, row: usize) -> &OsStr {
        let row = &self.rows[row];
        OsStr::from_bytes(&self.names[row.start as usize..][..row.len as usize])
    }

    pub(crate) fn value(&self, row: usize) -> &T {
        &self.rows[row].value
    }

    pub(crate) fn depth(&self, row: usize) -> usize {
        self.rows[row].depth.into()
    }

    pub(crate) fn cursor(&self) -> Cursor<'_, T> {
        let mut cursor = Cursor {
            table: self,
            row: 0,
            trail: Trail::default(),
        };
        cursor.enter();
        cursor
    }

    pub(crate) fn value_mut(&mut self, row: usize) -> &mut T {
        &mut self.rows[row].value
    }

    /// Goes through all rows, with the path of each, and may change their values.
    pub(crate) fn update(&mut self, mut each: impl FnMut(usize, &Path, &mut T)) {
        let mut trail = Trail::default();
        for (number, row) in self.rows.iter_mut().enumerate() {
            trail.enter(row.depth.into(), &self.names[row.start as usize..][..row.len as usize]);
            each(number, trail.path(), &mut row.value);
        }
    }

    /// The same names with other values; rows without one are left out.
    pub(crate) fn filter_map<U>(&self, mut value: impl FnMut(usize, &T) -> Option<U>) -> PathTable<U> {
        let mut table = PathTable::with_capacity(self.rows.len(), self.names.len());
        for (number, row) in self.rows.iter().enumerate() {
            if let Some(value) = value(number, &row.value) {
                // Every name of this table has fitted already.
                let _ = table.push(row.depth.into(), self.name(number).as_bytes(), value);
            }
        }
        table
    }
}

/// Rows that somebody else made: only those are taken that make a tree in the order of a table.
#[derive(Debug)]
pub(crate) struct CheckedTable<T> {
    table: PathTable<T>,
    /// By depth: the last row on the way to the current one.
    last: Vec<usize>,
}

impl<T> CheckedTable<T> {
    pub(crate) fn with_capacity(rows: usize, names: usize) -> Self {
        Self {
            table: PathTable::with_capacity(rows, names),
            last: Vec::new(),
        }
    }

    /// Adds a row; `false` when it cannot stand there.
    #[must_use]
    pub(crate) fn push(&mut self, depth: usize, name: &[u8], value: T) -> bool {
        let before = self.last.get(depth).map(|row| self.table.name(*row).as_bytes());
        if !may_follow(self.last.len(), before, depth, name) || !self.table.push(depth, name, value) {
            return false;
        }
        self.last.truncate(depth);
        self.last.push(self.table.len() - 1);
        true
    }

    /// The last row on the way to the current one that is `depth` deep.
    pub(crate) fn at_depth(&self, depth: usize) -> Option<&T> {
        self.last.get(depth).map(|row| self.table.value(*row))
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn finish(self) -> PathTable<T> {
        self.table
    }
}

/// Whether a row may come next: `open` rows lead to the last one, itself counted, and `before` is the name of the one
/// among them that is as deep.
fn may_follow(open: usize, before: Option<&[u8]>, depth: usize, name: &[u8]) -> bool {
    if open == 0 {
        return depth == 0 && name.is_empty();
    }
    depth > 0 && depth <= open && is_name(name) && before.is_none_or(|before| before < name)
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// The way to a row of which rows before it are known: its path, put together as rows are entered.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail {
    path: Vec<u8>,
    /// Where in `path` each row on the way ends, by depth.
    ends: Vec<usize>,
}

impl Trail {
    pub(super) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// Whether a row may come next.
    pub(super) fn takes(&self, depth: usize, name: &[u8]) -> bool {
        let before = self.ends.get(depth).map(|end| {
            let from = depth.checked_sub(1).map_or(0, |above| self.ends[above]);
            let part = &self.path[from..*end];
            part.strip_prefix(b"/").unwrap_or(part)
        });
        may_follow(self.ends.len(), before, depth, name)
    }

    pub(super) fn enter(&mut self, depth: usize, name: &[u8]) {
        self.ends.truncate(depth);
        self.path.truncate(self.ends.last().copied().unwrap_or(0));
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.ends.push(self.path.len());
    }
}

/// Goes through a table row by row and knows the path of each.
#[derive(Clone)]
pub(crate) struct Cursor<'a, T> {
    table: &'a PathTable<T>,
    row: usize,
    trail: Trail,
}

impl<'a, T> Cursor<'a, T> {
    /// The row that it stands on: its number and value.
    pub(crate) fn current(&self) -> Option<(usize, &'a T)> {
        self.table.rows.get(self.row).map(|row| (self.row, &row.value))
    }

    /// The number of the row that it stands on; the length of the table at its end.
    pub(crate) fn row(&self) -> usize {
        self.row
    }

    /// The path of the row that it stands on; the root's is empty.
    pub(crate) fn path(&self) -> &Path {
        self.trail.path()
    }

    pub(crate) fn advance(&mut self) {
        self.row += 1;
        self.enter();
    }

    /// Goes on behind everything below the current row.
    pub(crate) fn skip_subtree(&mut self) {
        let Some(row) = self.table.rows.get(self.row) else {
            return;
        };
        let depth = row.depth;
        self.row += 1;
        while self.table.rows.get(self.row).is_some_and(|row| row.depth > depth) {
            self.row += 1;
        }
        self.enter();
    }

    fn enter(&mut self) {
        let Some(row) = self.table.rows.get(self.row) else {
            return;
        };
        let name = &self.table.names[row.start as usize..][..row.len as usize];
        self.trail.enter(row.depth.into(), name);
    }
}

/// The order of the rows: component by component, a folder before its content.
pub(crate) fn compare(a: &Path, b: &Path) -> Ordering {
    let (a, b) = (a.as_os_str().as_bytes(), b.as_os_str().as_bytes());
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => rank(a).cmp(&rank(b)),
        None => a.len().cmp(&b.len()),
    }
}

/// Which of two cursors stands on the earlier path; `None` when both are at their end.
pub(crate) fn earlier<A, B>(a: &Cursor<A>, b: &Cursor<B>) -> Option<Ordering> {
    match (a.current(), b.current()) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some(_), Some(_)) => Some(compare(a.path(), b.path())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_puts_paths_together_and_skips_subtrees() {
        let mut table = PathTable::default();
        for (depth, name) in [(0, ""), (1, "a"), (2, "b"), (3, "c"), (2, "d"), (1, "a-b")] {
            assert!(table.push(depth, name.as_bytes(), ()));
        }
        let mut cursor = table.cursor();
        let mut paths = Vec::new();
        while cursor.current().is_some() {
            paths.push(cursor.path().to_str().unwrap().to_owned());
            cursor.advance();
        }
        assert_eq!(paths, ["", "a", "a/b", "a/b/c", "a/d", "a-b"]);
        assert!(paths.is_sorted_by(|a, b| compare(Path::new(a), Path::new(b)).is_lt()));

        let mut cursor = table.cursor();
        cursor.advance();
        cursor.skip_subtree();
        assert_eq!(cursor.path(), Path::new("a-b"));
        cursor.skip_subtree();
        assert!(cursor.current().is_none());
    }
}
