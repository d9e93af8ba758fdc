// SPDX-License-Identifier: GPL-2.0
//
// A soak test of anonymous memory.  Processes and threads map, write, verify,
// protect, move, unmap, fork, lock and advise, while others migrate, reclaim,
// compact, merge, collapse, split and soft-offline their pages, switch swap and
// vm.anon_vma_lazy off and on, and let allocations fail.
//
// Each page has a content of its own, which says who wrote it, and is compared
// with what the process that reads it knows in a shadow of its memory.  A fork
// copies the shadow, so both sides go on checking.
//
// usage: soak [--seed N] [--seconds N] [--stall N] [--families N] [--stress]
//
//	--seed N	what all is drawn from
//	--seconds N	for how long (60)
//	--stall N	a thread that does nothing for so many seconds is stuck (300)
//	--families N	processes to begin with (6)
//	--stress	run stress-ng in the last quarter
//
// The N-th operation of a process or thread, and its arguments, are a function
// of the seed, N and its identity, which is that of its parent and the number of
// the step that forked it.  What the kernel answers decides only whether an
// operation can be done, never what comes next.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#define UFFDIO_MOVE _IOWR(0xAA, 0x05, struct uffdio_move)
#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES 2
#endif

extern char **environ;

namespace {

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr std::size_t psize = 4096, words = psize / sizeof(u64);
char *const arena_base = reinterpret_cast<char *>(0x100000000000);
constexpr unsigned file_pages = 256, max_threads = 3;
constexpr unsigned max_depth = 6, max_live = 40, nr_slots = 256, ring_size = 64;
constexpr int exit_reported = 99;
// Who wrote a page, where that was no process.
constexpr u64 owner_zero = 0, owner_merge = 1, owner_file = 2;

u64 mix(u64 z)
{
	z += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

// --- what can be done -------------------------------------------------------

enum op : u8 {
	TOUCH, VERIFY, MMAP, MMAP_FILE, MUNMAP, MPROTECT, MREMAP, DONTUNMAP, RESIZE,
	FORK, EXEC, DONTNEED, FREE, COLD, PAGEOUT, POPULATE, HUGEPAGE, NOHUGEPAGE,
	COLLAPSE, MERGEABLE, UNMERGEABLE, DONTFORK, DOFORK, WIPEONFORK, KEEPONFORK,
	GUARD, UNGUARD, MLOCK, MUNLOCK, MOVE_PAGES, MBIND, MIGRATE_SELF, OFFLINE_PAGE,
	UFFD_MOVE, PROC_READ, YIELD,
	// by those who disturb
	RECLAIM, COMPACT, KSM, KHUGEPAGED, SPLIT_HUGE, SWAPOFF, SWAPON, MIGRATE_PROC,
	MOVE_OTHER, PROCESS_MADVISE, SYSCTL, READ_OTHER, CLEAR_REFS, PAGE_IDLE, UNPOISON,
	CHECKER,
	NR_OPS
};

constexpr const char *op_names[NR_OPS] = {
	"touch", "verify", "mmap", "mmap_file", "munmap", "mprotect", "mremap",
	"mremap_dontunmap", "mremap_resize", "fork", "exec", "dontneed", "free", "cold",
	"pageout", "populate", "hugepage", "nohugepage", "collapse", "mergeable",
	"unmergeable", "dontfork", "dofork", "wipeonfork", "keeponfork", "guard_install",
	"guard_remove", "mlock", "munlock", "move_pages", "mbind", "migrate_pages",
	"soft_offline", "uffd_move", "proc_read", "yield",
	"reclaim", "compact", "ksm", "khugepaged", "split_huge", "swapoff", "swapon",
	"migrate_process", "move_process", "process_madvise", "sysctl", "read_process",
	"clear_refs", "page_idle", "unpoison", "checker",
};

struct weight {
	op what;
	u8 n;
};

constexpr weight weights[] = {
	{TOUCH, 60}, {VERIFY, 4}, {MMAP, 14}, {MMAP_FILE, 4}, {MUNMAP, 10}, {MPROTECT, 20},
	{MREMAP, 16}, {DONTUNMAP, 6}, {RESIZE, 10}, {FORK, 6}, {EXEC, 1}, {DONTNEED, 6},
	{FREE, 5}, {COLD, 3}, {PAGEOUT, 8}, {POPULATE, 4}, {HUGEPAGE, 4}, {NOHUGEPAGE, 2},
	{COLLAPSE, 4}, {MERGEABLE, 3}, {UNMERGEABLE, 1}, {DONTFORK, 2}, {DOFORK, 4},
	{WIPEONFORK, 2}, {KEEPONFORK, 4}, {GUARD, 4}, {UNGUARD, 5}, {MLOCK, 3}, {MUNLOCK, 4},
	{MOVE_PAGES, 8}, {MBIND, 4}, {MIGRATE_SELF, 1}, {OFFLINE_PAGE, 1}, {UFFD_MOVE, 5},
	{PROC_READ, 1}, {YIELD, 3},
};

op drawn_op(u64 r)
{
	static constexpr unsigned all = [] {
		unsigned n = 0;
		for (const weight &w : weights)
			n += w.n;
		return n;
	}();

	r %= all;
	for (const weight &w : weights) {
		if (r < w.n)
			return w.what;
		r -= w.n;
	}
	return TOUCH;
}

// --- what all processes share -----------------------------------------------

struct record {
	u32 step, a, b, c;
	op what;
	bool failing;		// an allocation was to fail
	short err;		// 0, an errno, or not_done
};
constexpr short not_done = -1, under_way = -2;

struct slot {
	std::atomic<u32> used;
	std::atomic<pid_t> pid, tid;
	u64 id;
	u32 depth, arena_pages;
	std::atomic<bool> waits;	// for a child, which has a slot too
	std::atomic<u32> step;
	char name[24];
	record ring[ring_size];
};

struct op_count {
	std::atomic<u64> tried, done, skipped, injected;
	std::atomic<u32> err[136];
};

struct shared {
	u64 seed;
	std::atomic<u32> stop, corruptions, deaths, live, peak, processes;
	std::atomic<u64> steps, pages_checked, pages_written, unknown, uffd_pages;
	std::atomic<u32> checker_found;
	op_count ops[NR_OPS];
	slot slots[nr_slots];
};

shared *all;
bool have_checker;

// --- writing to where it is read ----------------------------------------------

// A line or more in one piece, whoever else writes.
class text {
public:
	__attribute__((format(printf, 2, 3))) void add(const char *f, ...)
	{
		va_list ap;

		va_start(ap, f);
		const int k = std::vsnprintf(buf_ + n_, sizeof(buf_) - n_, f, ap);
		va_end(ap);
		n_ = std::min(n_ + std::max(k, 0), sizeof(buf_) - 1);
	}
	void say()
	{
		for (std::size_t at = 0; at < n_;) {
			const ssize_t k = write(1, buf_ + at, n_ - at);
			if (k <= 0)
				break;
			at += k;
		}
		n_ = 0;
	}

private:
	char buf_[16000];
	std::size_t n_ = 0;
};

void add_ring(text &t, const slot &s)
{
	const u32 last = s.step;

	t.add("#   %s, identity %016" PRIx64 ", pid %d, thread %d, depth %u, step %u; its last operations:\n",
	      s.name, s.id, s.pid.load(), s.tid.load(), s.depth, last);
	for (u32 k = last >= ring_size ? last - ring_size + 1 : 0; k <= last; k++) {
		const record &r = s.ring[k % ring_size];

		if (r.step != k)
			continue;
		t.add("#     %u %s(%u, %u, %u)%s: %s\n", k, op_names[r.what], r.a, r.b, r.c,
		      r.failing ? " with a failing allocation" : "",
		      r.err == under_way ? "under way" : r.err == not_done ? "not possible" :
		      r.err ? strerrorname_np(r.err) : "ok");
	}
}

slot *take_slot(const char *name, u64 id, u32 depth)
{
	for (slot &s : all->slots) {
		u32 none = 0;

		if (s.used.load() || !s.used.compare_exchange_strong(none, 1))
			continue;
		s.id = id;
		s.depth = depth;
		s.arena_pages = 0;
		s.waits = false;
		s.step = 0;
		std::memset(s.ring, 0xff, sizeof(s.ring));
		std::snprintf(s.name, sizeof(s.name), "%s", name);
		s.tid = syscall(SYS_gettid);
		s.pid = getpid();
		s.used = 2;
		return &s;
	}
	return nullptr;
}

void release_slot(slot *s)
{
	s->pid = 0;
	s->used = 0;
}

// --- files of the kernel's ----------------------------------------------------

int put(const char *path, std::string_view what)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	const int err = write(fd, what.data(), what.size()) < 0 ? errno : 0;
	close(fd);
	return err;
}

std::string get(const char *path)
{
	std::string s;
	char buf[4096];
	ssize_t n;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return s;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		s.append(buf, n);
	close(fd);
	return s;
}

int read_all(const char *path, std::size_t most = ~std::size_t{0})
{
	static thread_local char buf[16384];
	ssize_t n;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	while (most && (n = read(fd, buf, std::min(most, sizeof(buf)))) > 0)
		most -= n;
	const int err = n < 0 ? errno : 0;
	close(fd);
	return err;
}

// The N-th allocation of this thread fails, for as long as this lives.
class failing {
public:
	explicit failing(unsigned nth)
	{
		if (!nth)
			return;
		fd_ = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
		if (fd_ < 0)
			return;
		char b[16];
		const int n = std::snprintf(b, sizeof(b), "%u", nth);
		if (pwrite(fd_, b, n, 0) < 0) {
			close(fd_);
			fd_ = -1;
		}
	}
	// From here on none fails. Has one?
	bool end()
	{
		char b[16] = "";

		if (fd_ < 0)
			return failed_;
		const int saved = errno;
		const ssize_t n = pread(fd_, b, sizeof(b) - 1, 0);
		if (pwrite(fd_, "0", 1, 0) < 0)
			abort();
		close(fd_);
		fd_ = -1;
		errno = saved;
		failed_ = n > 0 && !std::strtoul(b, nullptr, 10);
		return failed_;
	}
	// In a forked child it is the parent's, and nothing fails.
	void forget()
	{
		if (fd_ >= 0)
			close(fd_);
		fd_ = -1;
	}
	~failing() { end(); }
	failing(const failing &) = delete;
	failing &operator=(const failing &) = delete;
	bool on() const { return fd_ >= 0; }

private:
	int fd_ = -1;
	bool failed_ = false;
};

void count(op what, short err, bool injected)
{
	op_count &c = all->ops[what];

	if (err == not_done) {
		c.skipped++;
		return;
	}
	c.tried++;
	if (err)
		c.err[std::min<short>(err, 135)]++;
	else
		c.done++;
	if (injected)
		c.injected++;
}

// --- pages ------------------------------------------------------------------

struct tag {
	u64 owner = owner_zero;
	u32 gen = 0, idx = 0;

	u64 hash() const { return owner ? mix(all->seed ^ mix(owner) ^ (u64{gen} << 32 | idx)) : 0; }
	// What the w-th word of the page is.
	u64 word(u64 h, unsigned w) const
	{
		if (!owner)
			return 0;
		switch (w) {
		case 0: return h;
		case 1: return owner;
		case 2: return u64{gen} << 32 | idx;
		default: return h + w * 0x100000001b3;
		}
	}
};

struct page {
	tag now;
	int file = -1;		// the page of the file that it maps, or anonymous
	u8 prot = 0;
	bool mapped = false, guard = false, wipe = false, dontfork = false;
	bool moved = false;	// by mremap(), perhaps with its VMA's page offset
	bool mergeable = false;	// KSM may have it
	bool either = false;	// may have lost its content
	bool unknown = false;	// a call failed half way: not checked until written

	tag base() const { return file < 0 ? tag{} : tag{owner_file, static_cast<u32>(file), 0}; }
	bool can(int p) const { return mapped && !guard && (prot & p) == p; }
	void lose()
	{
		now = base();
		either = unknown = guard = false;
	}
};

void fill(char *at, const tag &t)
{
	auto *p = reinterpret_cast<volatile u64 *>(at);
	const u64 h = t.hash();

	for (unsigned w = 0; w < words; w++)
		p[w] = t.word(h, w);
}

// The first word that differs, of all or of some; or -1.
int differs(const char *at, const tag &t, bool whole)
{
	auto *p = reinterpret_cast<const volatile u64 *>(at);
	const u64 h = t.hash();

	for (unsigned w = 0; w < words; w += whole || w < 3 ? 1 : 127)
		if (p[w] != t.word(h, w))
			return w;
	return -1;
}

class worker;
thread_local worker *self;

class worker {
public:
	worker(const char *name, u64 id, char *arena, unsigned n, char *process, std::size_t size)
		: id_(id), arena_(arena), process_(process), size_(size), pages_(n),
		  slot_(take_slot(name, id, 0))
	{
		if (!slot_)
			abort();
		slot_->arena_pages = n;
	}
	~worker()
	{
		if (uffd_ >= 0)
			close(uffd_);
		release_slot(slot_);
	}
	worker(const worker &) = delete;
	worker &operator=(const worker &) = delete;

	void begin();
	void run(unsigned steps);
	void end();
	[[noreturn]] void fault(int sig, siginfo_t *info);

	static inline int file;		// whose pages are mapped

private:
	u64 draw(unsigned k) const { return mix(id_ ^ mix(u64{step_} << 8 | k)); }
	unsigned size() const { return pages_.size(); }
	char *at(unsigned i) const { return arena_ + i * psize; }
	unsigned index(const char *p) const { return (p - arena_) / psize; }
	bool is_mapped(unsigned i, unsigned n) const
	{
		return std::all_of(&pages_[i], &pages_[i] + n, [](const page &p) { return p.mapped; });
	}

	[[noreturn]] void corrupt(unsigned i, int word, const char *what);
	void check(unsigned i, bool whole);
	void check_all(bool whole);
	void write_page(unsigned i, u64 r);
	void resync(unsigned i, unsigned n, std::vector<bool> *now = nullptr);
	void step();
	short perform(op what, unsigned i, unsigned n, unsigned t, u64 r, failing &f);
	short touch(unsigned i, unsigned n, u64 r);
	short map(unsigned i, unsigned n, u64 r, bool file);
	short remap(unsigned i, unsigned n, unsigned t, int flags, failing &f);
	short resize(unsigned i, unsigned n, u64 r, failing &f);
	short advise(op what, unsigned i, unsigned n, u64 r);
	bool insist(unsigned i, unsigned n, int advice);
	short flag(unsigned i, unsigned n, int advice, bool page::*field, bool value, failing &f);
	short guard(unsigned i, unsigned n, bool install, failing &f);
	short move_pages(unsigned i, unsigned n, u64 r);
	short bind(unsigned i, unsigned n, u64 r);
	short uffd_move(unsigned i, unsigned n, unsigned t, failing &f);
	short exec();
	short fork_child(u64 r, failing &f);
	void become_child(u64 r);
	void reap(bool all_of_them);
	short proc_read(u64 r);

	u64 id_;
	char *arena_, *process_;
	std::size_t size_;
	std::vector<page> pages_;
	u32 gen_ = 0, step_ = 0, steps_ = 0, depth_ = 0;
	slot *slot_;
	int uffd_ = -1;
	std::vector<pid_t> children_;
};

void worker::corrupt(unsigned i, int word, const char *what)
{
	static thread_local text t;
	char line[256];
	const page &p = pages_[i];
	const u64 h = p.now.hash();

	all->corruptions++;
	t.add("SOAK-CORRUPTION %s\n", what);
	t.add("# page %u at %p: %s%s%s%s, %s, prot %d\n", i, static_cast<void *>(at(i)),
	      p.mapped ? "mapped" : "not mapped", p.guard ? ", guard" : "",
	      p.either ? ", may be lost" : "", p.unknown ? ", unknown" : "",
	      p.file < 0 ? "anonymous" : "of the file", p.prot);
	t.add("# expected: owner %016" PRIx64 " generation %u page %u, words %016" PRIx64 " %016" PRIx64
	      " %016" PRIx64 " ...\n", p.now.owner, p.now.gen, p.now.idx, p.now.word(h, 0),
	      p.now.word(h, 1), p.now.word(h, 2));
	if (word >= 0) {
		auto *q = reinterpret_cast<const volatile u64 *>(at(i));
		t.add("# found:    owner %016" PRIx64 " generation %u page %u, words %016" PRIx64 " %016" PRIx64
		      " %016" PRIx64 " ...\n", u64{q[1]}, static_cast<u32>(q[2] >> 32),
		      static_cast<u32>(q[2]), u64{q[0]}, u64{q[1]}, u64{q[2]});
		t.add("# word %d at %p is %016" PRIx64 ", not %016" PRIx64 "\n", word,
		      static_cast<void *>(at(i) + word * sizeof(u64)), u64{q[word]}, p.now.word(h, word));
	}
	const int pm = open("/proc/self/pagemap", O_RDONLY);
	u64 entry = 0;
	if (pm >= 0 && pread(pm, &entry, sizeof(entry), reinterpret_cast<std::uintptr_t>(at(i)) / psize * 8) == 8)
		t.add("# pagemap %016" PRIx64 "\n", entry);
	if (FILE *m = std::fopen("/proc/self/maps", "r")) {
		while (std::fgets(line, sizeof(line), m)) {
			std::uintptr_t a, b;
			const auto x = reinterpret_cast<std::uintptr_t>(at(i));

			if (std::sscanf(line, "%lx-%lx", &a, &b) == 2 && x >= a && x < b)
				t.add("# maps %s", line);
		}
	}
	add_ring(t, *slot_);
	t.say();
	_exit(exit_reported);
}

void worker::fault(int sig, siginfo_t *info)
{
	char what[96];
	const char *p = static_cast<char *>(info->si_addr);

	std::snprintf(what, sizeof(what), "signal %d, code %d, at %p", sig, info->si_code, info->si_addr);
	if (p >= arena_ && p < arena_ + size() * psize)
		corrupt(index(p), -1, what);
	corrupt(0, -1, what);
}

void worker::check(unsigned i, bool whole)
{
	page &p = pages_[i];

	if (!p.can(PROT_READ) || p.unknown)
		return;
	all->pages_checked.fetch_add(1, std::memory_order_relaxed);
	const int word = differs(at(i), p.now, whole);
	if (word < 0)
		return;
	// What was given back stays so.
	if (p.either && differs(at(i), p.base(), true) < 0) {
		p.lose();
		return;
	}
	corrupt(i, word, "a page has not its content");
}

void worker::check_all(bool whole)
{
	for (unsigned i = 0; i < size(); i++)
		check(i, whole);
}

void worker::write_page(unsigned i, u64 r)
{
	page &p = pages_[i];

	// A few in common with everybody, to be merged.
	p.now = r % 8 ? tag{id_, ++gen_, i} : tag{owner_merge, static_cast<u32>(r >> 8 & 3), 0};
	p.either = p.unknown = false;
	fill(at(i), p.now);
	all->pages_written.fetch_add(1, std::memory_order_relaxed);
}

// A call failed that may have done a part: see what is mapped and how.
void worker::resync(unsigned i, unsigned n, std::vector<bool> *now)
{
	std::vector<u8> prot(n, 0xff);
	const std::string maps = get("/proc/self/maps");
	const auto first = reinterpret_cast<std::uintptr_t>(at(i)), end = first + n * psize;

	for (std::size_t l = 0; l < maps.size(); l = maps.find('\n', l) + 1) {
		std::uintptr_t a, b;
		char p[8];

		if (std::sscanf(&maps[l], "%lx-%lx %4s", &a, &b, p) != 3 || b <= first || a >= end)
			continue;
		for (std::uintptr_t x = std::max(a, first); x < std::min(b, end); x += psize)
			prot[(x - first) / psize] = (p[0] == 'r' ? PROT_READ : 0) | (p[1] == 'w' ? PROT_WRITE : 0);
	}
	if (now)
		now->resize(n);
	for (unsigned k = 0; k < n; k++) {
		page &p = pages_[i + k];
		const bool there = prot[k] != 0xff;

		if (now)
			(*now)[k] = there;
		if (there && !p.mapped && !now) {
			// Nobody should have mapped it.
			munmap(at(i + k), psize);
		} else if (there) {
			p.prot = prot[k];
		} else if (p.mapped) {
			p = {};
		}
	}
}

short worker::touch(unsigned i, unsigned n, u64 r)
{
	for (unsigned k = i; k < i + n; k++) {
		const u64 x = mix(r ^ k);

		check(k, x % 4 == 0);
		if (x >> 8 & 1 && pages_[k].can(PROT_WRITE)) {
			write_page(k, x >> 16);
			if ((x >> 10) % 8 == 0)
				check(k, true);
		}
	}
	return 0;
}

short worker::map(unsigned i, unsigned n, u64 r, bool from_file)
{
	static constexpr int prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
					PROT_READ | PROT_WRITE, PROT_READ};
	const int prot = prots[r % 4];
	const int first = (r >> 8) % (file_pages - std::min(n, file_pages - 1));

	if (from_file)
		n = std::min(n, file_pages - 1);
	void *p = mmap(at(i), n * psize, prot,
		       MAP_PRIVATE | MAP_FIXED | (from_file ? 0 : MAP_ANONYMOUS) |
			       ((r >> 4) % 8 ? 0 : MAP_POPULATE),
		       from_file ? file : -1, from_file ? first * psize : 0);
	if (p == MAP_FAILED) {
		const short err = errno;

		resync(i, n);
		return err;
	}
	for (unsigned k = 0; k < n; k++) {
		page &q = pages_[i + k];

		q = {};
		q.mapped = true;
		q.prot = prot;
		q.file = from_file ? first + static_cast<int>(k) : -1;
		q.now = q.base();
	}
	return 0;
}

short worker::remap(unsigned i, unsigned n, unsigned t, int flags, failing &f)
{
	if (!is_mapped(i, n) || (t < i + n && i < t + n))
		return not_done;
	// Linux 7.3 forks a VMA that was moved and is to be wiped as one that has no
	// pages but the page offset of those; assert_sane_pgoff() warns when it is split.
	if (std::any_of(&pages_[i], &pages_[i] + n, [](const page &p) { return p.wipe; }))
		return not_done;
	void *p = mremap(at(i), n * psize, n * psize, MREMAP_MAYMOVE | MREMAP_FIXED | flags, at(t));
	if (p != MAP_FAILED) {
		for (unsigned k = 0; k < n; k++) {
			pages_[t + k] = pages_[i + k];
			pages_[t + k].moved = true;
			if (flags)
				pages_[i + k].lose();
			else
				pages_[i + k] = {};
		}
		return 0;
	}

	// Several VMAs may be moved one by one, each after its target was unmapped.
	const short err = errno;
	std::vector<bool> src, dst;
	f.end();
	const std::vector<page> was(&pages_[i], &pages_[i] + n), there(&pages_[t], &pages_[t] + n);
	resync(i, n, &src);
	resync(t, n, &dst);
	for (unsigned k = 0; k < n; k++) {
		if (!src[k] && !dst[k]) {
			pages_[i + k] = was[k];
			corrupt(i + k, -1, "mremap() failed, and the page is at neither place");
		} else if (!src[k]) {
			pages_[t + k] = was[k];
			pages_[t + k].moved = true;
		} else if (src[k] && dst[k] && (flags || !there[k].mapped)) {
			// What is at the target, or a guard there, may be of either.
			all->unknown++;
			pages_[i + k].unknown = pages_[i + k].moved = true;
			pages_[t + k] = {};
			munmap(at(t + k), psize);
		}
	}
	return err;
}

short worker::resize(unsigned i, unsigned n, u64 r, failing &f)
{
	unsigned to = r & 1 ? 1 + (r >> 8) % n : n + 1 + (r >> 8) % 24;

	if (!is_mapped(i, n) || i + to > size())
		return not_done;
	const page last = pages_[i + n - 1];
	if (to > n && last.file >= 0 && last.file + (to - n) >= file_pages)
		return not_done;
	void *p = mremap(at(i), n * psize, to * psize, 0);
	if (p == MAP_FAILED) {
		const short err = errno;

		f.end();
		resync(i, std::max(n, to));
		return err;
	}
	for (unsigned k = n; k < to; k++) {
		pages_[i + k] = last;
		if (last.file >= 0)
			pages_[i + k].file += k - n + 1;
		pages_[i + k].lose();
	}
	for (unsigned k = to; k < n; k++)
		pages_[i + k] = {};
	return 0;
}

// What changes contents, or only how they are kept.
short worker::advise(op what, unsigned i, unsigned n, u64 r)
{
	static constexpr int populate[] = {MADV_POPULATE_READ, MADV_POPULATE_WRITE};
	const int advice = what == DONTNEED ? MADV_DONTNEED : what == FREE ? MADV_FREE :
		what == COLD ? MADV_COLD : what == PAGEOUT ? MADV_PAGEOUT :
		what == POPULATE ? populate[r & 1] : what == HUGEPAGE ? MADV_HUGEPAGE :
		what == NOHUGEPAGE ? MADV_NOHUGEPAGE : what == COLLAPSE ? MADV_COLLAPSE :
		what == MERGEABLE ? MADV_MERGEABLE : what == UNMERGEABLE ? MADV_UNMERGEABLE :
		MADV_SOFT_OFFLINE;

	if (what == OFFLINE_PAGE) {
		n = 1;
		if (r % 4 || !pages_[i].can(PROT_READ))
			return not_done;
	}
	// In Linux 7.3 MADV_FREE of the only one who maps a KSM page lets reclaim discard
	// it for all with whose pages it is merged afterwards.
	if (what == FREE &&
	    std::any_of(&pages_[i], &pages_[i] + n, [](const page &p) { return p.mergeable; }))
		return not_done;
	if (what == MERGEABLE)
		for (unsigned k = i; k < i + n; k++)
			pages_[k].mergeable = true;
	const short err = madvise(at(i), n * psize, advice) ? errno : 0;

	if (what == DONTNEED || what == FREE)
		for (unsigned k = i; k < i + n; k++) {
			page &p = pages_[k];

			if (!p.mapped || p.guard)
				continue;
			// With a lock or a hole somewhere it is done to a part only.
			if (what == DONTNEED && !err)
				p.lose();
			else
				p.either = true;
		}
	return err;
}

// What must be done for the state to be known, or else there are no pages.
bool worker::insist(unsigned i, unsigned n, int advice)
{
	for (int tries = 0; madvise(at(i), n * psize, advice); tries++) {
		if (tries < 100) {
			usleep(1000);
			continue;
		}
		munmap(at(i), n * psize);
		std::fill_n(&pages_[i], n, page{});
		return false;
	}
	return true;
}

// Flags that a fork looks at.
short worker::flag(unsigned i, unsigned n, int advice, bool page::*field, bool value, failing &f)
{
	short err = 0;

	if (!is_mapped(i, n))
		return not_done;
	if (advice == MADV_WIPEONFORK &&
	    std::any_of(&pages_[i], &pages_[i] + n, [](const page &p) { return p.file >= 0 || p.moved; }))
		return not_done;
	if (madvise(at(i), n * psize, advice)) {
		err = errno;
		f.end();
		if (!insist(i, n, advice))
			return err;
	}
	for (unsigned k = i; k < i + n; k++)
		pages_[k].*field = value;
	return err;
}

short worker::guard(unsigned i, unsigned n, bool install, failing &f)
{
	short err = 0;

	if (!is_mapped(i, n))
		return not_done;
	if (install)
		munlock(at(i), n * psize);
	if (madvise(at(i), n * psize, install ? MADV_GUARD_INSTALL : MADV_GUARD_REMOVE)) {
		err = errno;
		f.end();
		if (install)
			munlock(at(i), n * psize);
		if (!insist(i, n, MADV_GUARD_REMOVE))
			return err;
		// Some of it may have been zapped.
		for (unsigned k = i; k < i + n; k++)
			if (pages_[k].guard)
				pages_[k].lose();
			else
				pages_[k].either = true;
		return err;
	}
	for (unsigned k = i; k < i + n; k++) {
		if (install || pages_[k].guard)
			pages_[k].lose();
		pages_[k].guard = install;
	}
	return 0;
}

short worker::move_pages(unsigned i, unsigned n, u64 r)
{
	std::vector<void *> p(n);
	std::vector<int> node(n, r & 1), status(n);

	for (unsigned k = 0; k < n; k++) {
		p[k] = at(i + k);
		if (r & 2)
			node[k] ^= k & 1;
	}
	return syscall(SYS_move_pages, 0, n, p.data(), node.data(), status.data(),
		       r & 4 ? MPOL_MF_MOVE : MPOL_MF_MOVE_ALL) < 0 ? errno : 0;
}

short worker::bind(unsigned i, unsigned n, u64 r)
{
	static constexpr int modes[] = {MPOL_PREFERRED, MPOL_INTERLEAVE, MPOL_BIND, MPOL_DEFAULT,
					MPOL_DEFAULT, MPOL_DEFAULT};
	const int mode = modes[r % std::size(modes)];
	unsigned long mask = mode == MPOL_INTERLEAVE ? 3 : 1 + (r >> 8 & 1);

	return syscall(SYS_mbind, at(i), n * psize, mode, mode == MPOL_DEFAULT ? nullptr : &mask,
		       mode == MPOL_DEFAULT ? 0 : 8, MPOL_MF_MOVE) ? errno : 0;
}

short worker::uffd_move(unsigned i, unsigned n, unsigned t, failing &f)
{
	n = std::min(n, 32u);
	if (t + n > size() || (t < i + n && i < t + n) || !is_mapped(i, n) || !is_mapped(t, n))
		return not_done;
	const auto anon = [](const page &p) { return p.file < 0 && !p.guard && p.can(PROT_READ | PROT_WRITE); };
	if (!std::all_of(&pages_[i], &pages_[i] + n, anon) || !std::all_of(&pages_[t], &pages_[t] + n, anon))
		return not_done;
	if (uffd_ < 0) {
		uffdio_api api{};

		api.api = UFFD_API;
		api.features = UFFD_FEATURE_MOVE;
		uffd_ = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
		if (uffd_ < 0)
			return errno;
		if (ioctl(uffd_, UFFDIO_API, &api)) {
			const short err = errno;

			close(uffd_);
			uffd_ = -1;
			return err;
		}
	}
	munlock(at(t), n * psize);
	if (madvise(at(t), n * psize, MADV_DONTNEED)) {
		const short err = errno;

		for (unsigned k = t; k < t + n; k++)
			pages_[k].either = true;
		return err;
	}
	for (unsigned k = t; k < t + n; k++)
		pages_[k].lose();

	uffdio_register reg{};
	reg.range.start = reinterpret_cast<std::uintptr_t>(at(t));
	reg.range.len = n * psize;
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	short err = ioctl(uffd_, UFFDIO_REGISTER, &reg) ? errno : 0;
	if (!err) {
		uffdio_move m{};

		m.dst = reg.range.start;
		m.src = reinterpret_cast<std::uintptr_t>(at(i));
		m.len = n * psize;
		m.mode = UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES;
		if (ioctl(uffd_, UFFDIO_MOVE, &m))
			err = errno;
		for (unsigned k = 0; m.move > 0 && k < m.move / psize; k++) {
			page &src = pages_[i + k], &dst = pages_[t + k];

			dst.now = src.now;
			dst.either = src.either;
			dst.unknown = src.unknown;
			src.lose();
			all->uffd_pages++;
		}
	}
	f.end();
	// Nobody is to wait for us: closing it ends the registration as well.
	if (ioctl(uffd_, UFFDIO_UNREGISTER, &reg.range) || err == ENOMEM) {
		close(uffd_);
		uffd_ = -1;
	}
	return err;
}

short worker::exec()
{
	static char name[] = "soak", how[] = "--exit";
	char *const argv[] = {name, how, nullptr};
	pid_t pid;
	int status;

	const int err = posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, argv, environ);
	if (err)
		return err;
	slot_->waits = true;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	slot_->waits = false;
	return status ? EIO : 0;
}

// A parent may see that a child of its has failed; others are the supervisor's.
void died(pid_t pid, int status)
{
	static thread_local text t;

	all->deaths++;
	if (WIFEXITED(status) && WEXITSTATUS(status) == exit_reported)
		return;		// it has told why
	t.add("SOAK-DEATH process %d: %s %d\n", pid, WIFSIGNALED(status) ? "signal" : "status",
	      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	for (const slot &s : all->slots)
		if (s.used == 2 && s.pid == pid)
			add_ring(t, s);
	t.say();
}

void ended(pid_t pid, int status)
{
	if (status)
		died(pid, status);
	for (slot &s : all->slots)
		if (s.used == 2 && s.pid == pid)
			release_slot(&s);
	all->live--;
}

void worker::reap(bool all_of_them)
{
	while (!children_.empty()) {
		int status;

		slot_->waits = true;
		const pid_t pid = waitpid(children_.front(), &status, 0);
		slot_->waits = false;
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid > 0)
			ended(pid, status);
		children_.erase(children_.begin());
		if (!all_of_them)
			return;
	}
}

void worker::become_child(u64 r)
{
	char name[24];

	id_ = mix(id_ ^ mix(step_));
	std::snprintf(name, sizeof(name), "%.*s/%u", depth_ ? 12 : 6, slot_->name, step_);
	depth_++;
	step_ = 0;
	children_.clear();
	if (uffd_ >= 0)
		close(uffd_);
	uffd_ = -1;
	slot_ = take_slot(name, id_, depth_);
	if (!slot_)
		_exit(0);
	slot_->arena_pages = size();
	// The other threads are gone, and nobody knows what they had done.
	if (r & 1) {
		munmap(process_, arena_ - process_);
		char *const end = at(size());
		munmap(end, process_ + size_ - end);
	}
	for (page &p : pages_) {
		if (p.dontfork)
			p = {};
		else if (p.wipe)
			p.lose();
	}
	check_all(r >> 1 & 1);
	run(6 + (r >> 8) % (400 >> depth_));
	check_all(false);
	// Some leave children of theirs to the supervisor.
	if (!(r >> 2 & 1))
		reap(true);
	_exit(0);
}

short worker::fork_child(u64 r, failing &f)
{
	const unsigned wide = depth_ ? 2 : 4;

	if (depth_ >= max_depth || all->stop)
		return not_done;
	if (children_.size() >= wide)
		reap(false);
	if (++all->live > max_live) {
		all->live--;
		return not_done;
	}
	const pid_t pid = fork();
	if (!pid) {
		f.forget();
		become_child(r);
	}
	if (pid < 0) {
		const short err = errno;

		all->live--;
		return err;
	}
	all->processes++;
	u32 peak = all->peak;
	const u32 live = all->live;
	while (peak < live && !all->peak.compare_exchange_weak(peak, live))
		;
	children_.push_back(pid);
	return 0;
}

short worker::proc_read(u64 r)
{
	switch (r % 5) {
	case 0: return read_all("/proc/self/smaps");
	case 1: return read_all("/proc/self/numa_maps");
	case 2: return put("/proc/self/clear_refs", r & 8 ? "1" : "4");
	case 3: return read_all("/proc/self/smaps_rollup");
	}
	std::vector<u64> entries(size());
	const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	const ssize_t n = pread(fd, entries.data(), entries.size() * 8,
				reinterpret_cast<std::uintptr_t>(arena_) / psize * 8);
	const short err = n < 0 ? errno : 0;
	close(fd);
	return err;
}

short worker::perform(op what, unsigned i, unsigned n, unsigned t, u64 r, failing &f)
{
	short err = 0;

	switch (what) {
	case TOUCH:
		return touch(i, n, r);
	case VERIFY:
		check_all(r & 1);
		return 0;
	case MMAP:
	case MMAP_FILE:
		return map(i, n, r, what == MMAP_FILE);
	case MUNMAP:
		if (munmap(at(i), n * psize)) {
			err = errno;
			f.end();
			resync(i, n);
			return err;
		}
		std::fill_n(&pages_[i], n, page{});
		return 0;
	case MPROTECT: {
		static constexpr int prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
						PROT_READ, PROT_NONE};
		const int prot = prots[r % 4];

		if (mprotect(at(i), n * psize, prot)) {
			err = errno;
			f.end();
			resync(i, n);
			return err;
		}
		for (unsigned k = i; k < i + n; k++)
			pages_[k].prot = prot;
		return 0;
	}
	case MREMAP:
	case DONTUNMAP:
		return remap(i, n, t, what == DONTUNMAP ? MREMAP_DONTUNMAP : 0, f);
	case RESIZE:
		return resize(i, n, r, f);
	case FORK:
		return fork_child(r, f);
	case EXEC:
		return exec();
	case DONTFORK:
	case DOFORK:
		return flag(i, n, what == DONTFORK ? MADV_DONTFORK : MADV_DOFORK, &page::dontfork,
			    what == DONTFORK, f);
	case WIPEONFORK:
	case KEEPONFORK:
		return flag(i, n, what == WIPEONFORK ? MADV_WIPEONFORK : MADV_KEEPONFORK, &page::wipe,
			    what == WIPEONFORK, f);
	case GUARD:
	case UNGUARD:
		return guard(i, n, what == GUARD, f);
	case MLOCK:
		return syscall(SYS_mlock2, at(i), n * psize, r & 1 ? MLOCK_ONFAULT : 0) ? errno : 0;
	case MUNLOCK:
		return munlock(at(i), n * psize) ? errno : 0;
	case MOVE_PAGES:
		return move_pages(i, n, r);
	case MBIND:
		return bind(i, n, r);
	case MIGRATE_SELF: {
		unsigned long from = 1 + (r & 1), to = 3 - from;

		return syscall(SYS_migrate_pages, 0, 8, &from, &to) < 0 ? errno : 0;
	}
	case UFFD_MOVE:
		return uffd_move(i, n, t, f);
	case PROC_READ:
		return proc_read(r);
	case YIELD:
		usleep(r % 3000);
		return 0;
	default:
		return advise(what, i, n, r);
	}
}

void worker::step()
{
	const u64 r = draw(4), how = draw(5);
	const op what = drawn_op(draw(0));
	// Mostly a few pages, sometimes many, rarely what may be one huge page.
	const u64 rn = draw(2);
	unsigned i = draw(1) % size();
	unsigned n = rn % 16 == 0 ? 1 + (rn >> 8) % 96 : 1 + (rn >> 8) % 10;

	if (what == MMAP || what == MMAP_FILE)
		n += (rn >> 40) % 32;
	if (size() > 512 && (rn % 16 == 1 || what == COLLAPSE)) {
		n = 512;
		i = i / 512 * 512;
	}
	n = std::min(n, size() - i);
	// Often next to it, where it may be merged.
	const u64 rt = draw(3);
	unsigned t = rt % (size() - n + 1);
	if ((rt >> 32) % 4 == 0 && i + 2 * n <= size())
		t = i + n;
	else if ((rt >> 32) % 4 == 1 && i >= n)
		t = i - n;

	record &rec = slot_->ring[step_ % ring_size];
	rec = {step_, i, n, t, what, how % 16 == 0, under_way};
	slot_->step = step_;
	{
		failing f(how % 16 == 0 ? 1 + (how >> 8) % 24 : 0);

		rec.failing = f.on();
		rec.err = perform(what, i, n, t, r, f);
		count(what, rec.err, f.end());
	}
	step_++;
	all->steps.fetch_add(1, std::memory_order_relaxed);
}

// Some of it is there at once, one part in one VMA with a neighbour's.
void worker::begin()
{
	const u64 r = mix(id_);
	const unsigned n = size() / (1 + r % 3);

	self = this;
	map(0, n, 16, false);
	for (unsigned i = 0; i < n; i++)
		if (mix(r ^ i) % 3 && pages_[i].can(PROT_WRITE))
			write_page(i, mix(r + i));
}

void worker::run(unsigned steps)
{
	self = this;
	for (steps_ = steps; step_ < steps_ && !all->stop;)
		step();
}

void worker::end()
{
	check_all(true);
	reap(true);
}

void on_fault(int sig, siginfo_t *info, void *)
{
	if (self)
		self->fault(sig, info);
	_exit(exit_reported - 1);
}

// One process with its threads, whose pages lie side by side, and children.
[[noreturn]] void family(unsigned nr, unsigned generation)
{
	const u64 id = mix(all->seed ^ mix(u64{nr} << 32 | generation)), r = mix(id);
	const unsigned pages = r % 3 ? 256 : 1536, threads = pages > 256 ? 1 : 1 + (r >> 8) % max_threads;
	// Where a huge page may begin, or not.
	char *const process = arena_base + (pages > 256 ? 0 : (r >> 16 & 1) * 64 * psize);
	const std::size_t size = std::size_t{threads} * pages * psize;
	std::vector<std::thread> others;
	const auto body = [=](unsigned k) {
		char name[24];

		std::snprintf(name, sizeof(name), "f%u.%u.%u", nr, generation, k);
		worker w(name, mix(id ^ (k + 1)), process + k * pages * psize, pages, process, size);
		w.begin();
		w.run(200 + (r >> 24) % 1200);
		w.end();
	};

	for (unsigned k = 1; k < threads; k++)
		others.emplace_back(body, k);
	body(0);
	for (std::thread &t : others)
		t.join();
	_exit(0);
}

// --- those who disturb ----------------------------------------------------------

struct victim {
	pid_t pid = 0;
	u32 pages = 0;
};

victim some_process(u64 r)
{
	for (unsigned k = 0; k < nr_slots; k++) {
		const slot &s = all->slots[(r + k) % nr_slots];
		const pid_t pid = s.pid;

		if (s.used == 2 && s.arena_pages && pid)
			return {pid, s.arena_pages};
	}
	return {};
}

std::string proc(pid_t pid, const char *file) { return "/proc/" + std::to_string(pid) + "/" + file; }

constexpr const char *cgroup = "/sys/fs/cgroup/soak";
constexpr const char *thp = "/sys/kernel/mm/transparent_hugepage/";
constexpr const char *checker = "/sys/kernel/debug/anon_vma_lazy/verify";
constexpr const char *swap_device = "/dev/zram0";

short reclaim(u64 r)
{
	return put("/sys/fs/cgroup/soak/memory.reclaim", std::to_string(1 + r % 24) + "M");
}

short compact(u64) { return put("/proc/sys/vm/compact_memory", "1"); }

short ksm(u64 r) { return put("/sys/kernel/mm/ksm/run", r % 8 ? "1" : "2"); }

short khugepaged(u64 r)
{
	static constexpr const char *sizes[] = {"64kB", "128kB", "512kB"};
	static constexpr const char *how[] = {"always", "madvise", "inherit", "never"};
	char path[96];

	switch (r % 4) {
	case 0:
		return put("/sys/kernel/mm/transparent_hugepage/enabled", r & 8 ? "always" : "madvise");
	case 1:
		return put("/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none", r & 8 ? "511" : "64");
	}
	std::snprintf(path, sizeof(path), "%shugepages-%s/enabled", thp, sizes[(r >> 8) % 3]);
	return put(path, how[(r >> 12) % 4]);
}

short split_huge(u64 r)
{
	const victim v = some_process(r >> 8);
	char line[80];

	if (!v.pid)
		return not_done;
	const auto at = reinterpret_cast<std::uintptr_t>(arena_base);
	std::snprintf(line, sizeof(line), "%d,0x%lx,0x%lx,%u", v.pid, at, at + 1600 * psize,
		      static_cast<unsigned>(r % 5 == 1 ? 0 : r % 5));
	return put("/sys/kernel/debug/split_huge_pages", line);
}

short swap_off(u64) { return swapoff(swap_device) ? errno : 0; }

short swap_on(u64) { return swapon(swap_device, 0) ? errno : 0; }

short migrate_process(u64 r)
{
	unsigned long from = 1 + (r & 1), to = 3 - from;
	const victim v = some_process(r >> 8);

	if (!v.pid)
		return not_done;
	return syscall(SYS_migrate_pages, v.pid, 8, &from, &to) < 0 ? errno : 0;
}

short move_process(u64 r)
{
	const victim v = some_process(r >> 8);
	std::vector<void *> p(64 + r % 192);
	std::vector<int> node(p.size(), r & 1), status(p.size());

	if (!v.pid)
		return not_done;
	for (std::size_t k = 0; k < p.size(); k++)
		p[k] = arena_base + ((r >> 32) % v.pages + k) * psize;
	return syscall(SYS_move_pages, v.pid, p.size(), p.data(), node.data(), status.data(),
		       MPOL_MF_MOVE_ALL) < 0 ? errno : 0;
}

short advise_process(u64 r)
{
	static constexpr int advice[] = {MADV_COLD, MADV_PAGEOUT, MADV_COLLAPSE, MADV_WILLNEED};
	const victim v = some_process(r >> 8);
	iovec io{arena_base + (r >> 32) % 256 * psize, (1 + (r >> 40) % 128) * psize};

	if (!v.pid)
		return not_done;
	const int fd = syscall(SYS_pidfd_open, v.pid, 0);
	if (fd < 0)
		return errno;
	const short err = syscall(SYS_process_madvise, fd, &io, 1, advice[r % 4], 0) < 0 ? errno : 0;
	close(fd);
	return err;
}

// Mostly on.
short sysctl(u64 r) { return put("/proc/sys/vm/anon_vma_lazy", r % 4 ? "1" : "0"); }

short read_process(u64 r)
{
	static constexpr const char *files[] = {"smaps", "numa_maps", "smaps_rollup", "maps"};
	const victim v = some_process(r >> 8);

	if (!v.pid)
		return not_done;
	return read_all(proc(v.pid, files[r % 4]).c_str());
}

short clear_refs(u64 r)
{
	const victim v = some_process(r >> 8);

	if (!v.pid)
		return not_done;
	return put(proc(v.pid, "clear_refs").c_str(), r & 1 ? "1" : "4");
}

// A part of all pages: marked idle, and asked whether they are still.
short page_idle(u64 r)
{
	std::vector<u64> bits(512, ~u64{0});
	const off_t at = r % 24 * bits.size() * 8;
	const int fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno;
	short err = pwrite(fd, bits.data(), bits.size() * 8, at) < 0 ? errno : 0;
	usleep(20000);
	if (!err && pread(fd, bits.data(), bits.size() * 8, at) < 0)
		err = errno;
	close(fd);
	return err;
}

// Gives back what was taken offline, in a part of memory at a time, as looking at
// all pages takes long.  True at the end of memory.
bool unpoison_part(short &err)
{
	constexpr u64 hwpoison = u64{1} << 19;
	static off_t pfn;
	std::vector<u64> flags(8192);
	const int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		err = errno;
		return true;
	}
	const ssize_t n = pread(fd, flags.data(), flags.size() * 8, pfn * 8);
	close(fd);
	if (n <= 0) {
		pfn = 0;
		return true;
	}
	for (ssize_t k = 0; k < n / 8; k++)
		if (flags[k] & hwpoison)
			if (const int e = put("/sys/kernel/debug/hwpoison/unpoison-pfn", std::to_string(pfn + k)))
				err = e;
	pfn += n / 8;
	return false;
}

short unpoison(u64)
{
	short err = 0;

	unpoison_part(err);
	return err;
}

// What the kernel itself finds in a process.
short ask_checker(u64 r)
{
	const victim v = some_process(r);

	if (!have_checker || !v.pid)
		return not_done;
	const short err = put(checker, std::to_string(v.pid));
	if (err == EUCLEAN) {
		all->checker_found++;
		std::printf("SOAK-CHECKER the kernel's checker finds process %d not in order\n", v.pid);
		std::fflush(stdout);
	}
	return err;
}

struct agent {
	op what;
	short (*act)(u64);
	unsigned ms;		// about so long between two
	bool may_fail;		// allocations are let fail
};

constexpr agent agents[] = {
	{RECLAIM, reclaim, 300, true}, {COMPACT, compact, 3000, true}, {KSM, ksm, 4000, false},
	{KHUGEPAGED, khugepaged, 2500, false}, {SPLIT_HUGE, split_huge, 400, true},
	{SWAPOFF, swap_off, 15000, false}, {SWAPON, swap_on, 4000, false},
	{MIGRATE_PROC, migrate_process, 700, true}, {MOVE_OTHER, move_process, 150, true},
	{PROCESS_MADVISE, advise_process, 200, true}, {SYSCTL, sysctl, 1500, false},
	{READ_OTHER, read_process, 600, false}, {CLEAR_REFS, clear_refs, 800, false},
	{PAGE_IDLE, page_idle, 1500, false}, {UNPOISON, unpoison, 200, false},
	{CHECKER, ask_checker, 500, false},
};

[[noreturn]] void disturb(const agent &a)
{
	const u64 id = mix(all->seed ^ mix(0xa9e47 + a.what));
	slot *const s = take_slot(op_names[a.what], id, 0);

	for (u32 step = 0; !all->stop; step++) {
		const u64 r = mix(id ^ mix(step)), how = mix(r);

		s->ring[step % ring_size] = {step, static_cast<u32>(r), static_cast<u32>(r >> 32), 0,
					     a.what, false, under_way};
		s->step = step;
		{
			failing f(a.may_fail && how % 8 == 0 ? 1 + (how >> 8) % 16 : 0);
			const short err = a.act(r);

			s->ring[step % ring_size].err = err;
			count(a.what, err, f.end());
		}
		for (unsigned ms = a.ms / 2 + (how >> 16) % a.ms; ms && !all->stop;) {
			const unsigned now = std::min(ms, 200u);

			usleep(now * 1000);
			ms -= now;
		}
	}
	_exit(0);
}

// --- the supervisor -----------------------------------------------------------

u64 seconds()
{
	timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

std::vector<std::pair<std::string, u64>> vmstat()
{
	std::vector<std::pair<std::string, u64>> v;
	const std::string s = get("/proc/vmstat");

	for (std::size_t l = 0; l < s.size(); l = s.find('\n', l) + 1) {
		char name[64];
		u64 n;

		if (std::sscanf(&s[l], "%63s %" SCNu64, name, &n) == 2)
			v.emplace_back(name, n);
	}
	return v;
}

// What of /proc/vmstat says that the test has met what it is to meet.
bool of_interest(const std::string &n)
{
	for (const char *p : {"anon_vma_", "pgmigrate_", "thp_migration", "pswp", "ksm_", "cow_ksm",
			      "compact_success", "compact_fail", "compact_migrate", "compact_isolated",
			      "thp_fault_alloc", "thp_collapse_alloc", "thp_split_", "thp_swpout",
			      "pgsteal_anon", "numa_pages_migrated", "oom_kill", "pglazyfreed",
			      "unevictable_pgs_mlocked"})
		if (n.starts_with(p))
			return true;
	return false;
}

class stress {
public:
	explicit stress(unsigned seconds)
	{
		const std::string t = std::to_string(seconds) + "s";
		// A stranger without rights, slowly, with little memory.
		// Each that the version knows; rate-limited where it can be.
		std::vector<std::string> a = {"stress-ng", "--timeout", t, "--temp-path", "/tmp", "--verify",
			"--oomable", "--vm", "1", "--vm-bytes", "24M", "--vm-ops", "400",
			"--fork", "1", "--fork-ops", "3000", "--mremap", "1", "--mremap-bytes", "4M",
			"--madvise", "1", "--vm-splice", "1", "--vm-splice-ops", "20000",
			"--userfaultfd", "1", "--userfaultfd-bytes", "2M", "--mlock", "1",
			"--mlock-ops", "2000", "--numa", "1", "--numa-ops", "40",
			"--vfork", "1", "--vfork-ops", "2000"};

		mkdir("/tmp/stress", 0777);
		pid = fork();
		if (pid)
			return;
		std::vector<char *> argv;
		for (std::string &s : a)
			argv.push_back(s.data());
		argv.push_back(nullptr);
		const int fd = open("/tmp/stress/log", O_WRONLY | O_CREAT | O_TRUNC, 0666);
		dup2(fd, 1);
		dup2(fd, 2);
		// Not among those whom one request to the group ends.
		setsid();
		if (chmod("/tmp/stress", 0777) || chdir("/tmp/stress") || setgid(65534) || setuid(65534))
			_exit(126);
		execvp(argv[0], argv.data());
		_exit(127);
	}
	pid_t pid;
};

// What the kernel complains of, as it comes.
bool splat(int kmsg, std::string &line)
{
	char buf[2048];
	ssize_t n;

	while ((n = read(kmsg, buf, sizeof(buf) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue;
		buf[n] = 0;
		const char *m = std::strchr(buf, ';');
		if (!m)
			continue;
		const std::string_view s(m + 1, std::strcspn(m + 1, "\n"));
		for (const char *p : {"BUG: ", "WARNING: ", "kernel BUG at", "INFO: task", "INFO: rcu",
				      "Out of memory: Killed", "Memory cgroup out of memory: Killed",
				      "general protection fault"})
			if (s.find(p) != s.npos) {
				line = s;
				return true;
			}
	}
	return false;
}

// It has ended, and its parent, which has much to do, does not know yet, or waits for
// it just now: then it is X, and a moment later nothing.
bool is_gone(const slot &s)
{
	const pid_t pid = s.pid;
	const std::string status = pid ? get(proc(pid, "status").c_str()) : "";

	return status.empty() || status.find("\nState:\tZ") != status.npos ||
		status.find("\nState:\tX") != status.npos;
}

void stuck(const slot &s, unsigned for_seconds)
{
	static text t;
	const std::string d = proc(s.pid, "task/") + std::to_string(s.tid) + "/";

	t.add("SOAK-STUCK %s has done nothing for %u s\n", s.name, for_seconds);
	add_ring(t, s);
	for (const char *f : {"stack", "wchan", "syscall", "status"})
		t.add("# %s: %s\n", f, get((d + f).c_str()).substr(0, 1200).c_str());
	t.say();
}

int supervise(unsigned for_seconds, unsigned stall, unsigned families, bool with_stress)
{
	struct seen {
		u64 id = 0, since = 0;
		u32 step = 0;
	};
	const auto before = vmstat();
	const u64 t0 = seconds();
	std::vector<seen> watch(nr_slots);
	std::vector<pid_t> heads(families), helpers;
	std::vector<unsigned> generation(families);
	unsigned nr_stuck = 0, nr_splats = 0, stress_status = 0;
	u64 said = t0, stopped = 0;
	std::string line;
	static text t;
	pid_t stress_pid = 0;
	bool stress_done = false, stress_bad = false;

	const int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(kmsg, 0, SEEK_END);
	std::fflush(nullptr);
	for (const agent &a : agents) {
		if (a.what == CHECKER && !have_checker)
			continue;
		const pid_t pid = fork();

		if (!pid)
			disturb(a);
		helpers.push_back(pid);
	}

	for (;;) {
		const u64 now = seconds();
		const bool bad = all->corruptions || all->deaths || all->checker_found || nr_stuck ||
			nr_splats || stress_bad;

		if (!stopped && (now - t0 >= for_seconds || bad)) {
			all->stop = 1;
			stopped = now;
		}
		// Who else sees something wrong has a moment to say it.
		if (bad && now - stopped > 5)
			break;
		for (unsigned k = 0; k < families && !all->stop; k++) {
			if (heads[k])
				continue;
			all->live++;
			all->processes++;
			heads[k] = fork();
			if (!heads[k])
				family(k, generation[k]);
			generation[k]++;
		}
		if (with_stress && !stress_pid && !all->stop && now - t0 >= for_seconds * 3 / 4) {
			const unsigned left = for_seconds - (now - t0);

			stress_pid = stress(left > 20 ? left - 15 : left).pid;
			std::printf("stress-ng joins\n");
			std::fflush(stdout);
		}

		int status;
		pid_t pid;
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			if (pid == stress_pid) {
				stress_done = true;
				stress_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
				// 2: something failed; 3, 4: it lacks a resource or is not there.
				stress_bad = get("/tmp/stress/log").find("fail:") != std::string::npos;
				continue;
			}
			if (const auto h = std::find(helpers.begin(), helpers.end(), pid); h != helpers.end()) {
				if (status)
					died(pid, status);
				for (slot &s : all->slots)
					if (s.used == 2 && s.pid == pid)
						release_slot(&s);
				helpers.erase(h);
				continue;
			}
			bool ours = false;
			for (pid_t &h : heads)
				if (h == pid) {
					h = 0;
					ours = true;
				}
			for (const slot &s : all->slots)
				ours |= s.used == 2 && s.pid == pid;
			// An orphan without a slot is stress-ng's, or has just given it back.
			if (ours)
				ended(pid, status);
			else if (WIFEXITED(status) && WEXITSTATUS(status) == exit_reported)
				died(pid, status);
		}
		if (pid < 0 && stopped)
			break;

		for (unsigned k = 0; k < nr_slots; k++) {
			const slot &s = all->slots[k];
			seen &w = watch[k];

			if (s.used != 2 || s.waits || s.id != w.id || s.step != w.step) {
				w = {s.id, now, s.step};
				continue;
			}
			if (now - w.since >= stall && !nr_stuck && !is_gone(s)) {
				stuck(s, now - w.since);
				put("/proc/sysrq-trigger", "w");
				nr_stuck++;
			}
		}
		if (splat(kmsg, line)) {
			nr_splats++;
			std::printf("SOAK-SPLAT %s\n", line.c_str());
			for (const slot &s : all->slots)
				if (s.used == 2 && nr_splats == 1 && s.ring[s.step % ring_size].err == under_way)
					std::printf("#   %s, pid %d: %s\n", s.name, s.pid.load(),
						    op_names[s.ring[s.step % ring_size].what]);
			std::fflush(stdout);
		}
		if (now - said >= 30) {
			said = now;
			std::printf("%" PRIu64 " s of %u: %" PRIu64 " operations, %u processes so far and %u now, "
				    "%" PRIu64 " pages written, %" PRIu64 " checked\n", now - t0, for_seconds,
				    all->steps.load(), all->processes.load(), all->live.load(),
				    all->pages_written.load(), all->pages_checked.load());
			std::fflush(stdout);
		}
		usleep(200000);
	}
	// All that is left, if it did not end well.
	if (stress_pid && !stress_done)
		kill(-stress_pid, SIGKILL);
	for (const slot &s : all->slots)
		if (s.used == 2 && s.pid > 0)
			kill(s.pid, SIGKILL);
	for (u64 end = seconds() + 20; seconds() < end && waitpid(-1, nullptr, WNOHANG) >= 0;)
		usleep(100000);

	// As it was, for who counts afterwards.
	put("/sys/kernel/mm/ksm/run", "2");
	put("/sys/kernel/mm/ksm/run", "0");
	put("/proc/sys/vm/anon_vma_lazy", "1");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
	for (short err = 0; !unpoison_part(err);)
		;
	if (splat(kmsg, line) && !nr_splats++)
		std::printf("SOAK-SPLAT %s\n", line.c_str());

	std::printf("\noperation                tried         done   failed of an allocation   not possible   errors\n");
	for (unsigned k = 0; k < NR_OPS; k++) {
		op_count &c = all->ops[k];

		if (!c.tried && !c.skipped)
			continue;
		t.add("%-18s %11" PRIu64 " %12" PRIu64 " %25" PRIu64 " %14" PRIu64 "  ", op_names[k],
		      c.tried.load(), c.done.load(), c.injected.load(), c.skipped.load());
		for (unsigned e = 1; e < std::size(c.err); e++)
			if (c.err[e])
				t.add(" %s:%u", strerrorname_np(e) ? strerrorname_np(e) : "?", c.err[e].load());
		t.add("\n");
		t.say();
	}
	std::printf("\n");
	const auto after = vmstat();
	for (std::size_t k = 0; k < after.size() && k < before.size(); k++)
		if (of_interest(after[k].first) && after[k].second != before[k].second)
			std::printf("vmstat %-28s %" PRId64 "\n", after[k].first.c_str(),
				    static_cast<std::int64_t>(after[k].second - before[k].second));
	if (with_stress) {
		std::printf("\nstress-ng: %s, status %u\n", !stress_pid ? "did not start" : stress_done ? "ended" :
			    "was ended", stress_status);
		const std::string log = get("/tmp/stress/log");
		for (std::size_t l = 0; l < log.size(); l = log.find('\n', l) + 1) {
			const std::string s = log.substr(l, log.find('\n', l) - l);

			if (s.find("fail:") != s.npos || s.find("error:") != s.npos || s.find("skipp") != s.npos ||
			    s.find("completed") != s.npos)
				std::printf("  %s\n", s.c_str());
		}
	}
	std::printf("\n%" PRIu64 " operations by %u processes, at most %u at once; %" PRIu64 " pages written, %" PRIu64
		    " checked, %" PRIu64 " moved by userfaultfd, %" PRIu64 " unknown for a while; checker of the kernel: %s\n",
		    all->steps.load(), all->processes.load(), all->peak.load(), all->pages_written.load(),
		    all->pages_checked.load(), all->uffd_pages.load(), all->unknown.load(),
		    have_checker ? "asked" : "not in this kernel");
	const unsigned bad = all->corruptions + all->deaths + all->checker_found + nr_splats + nr_stuck + stress_bad;
	std::printf("SOAK-RESULT corruptions %u deaths %u checker %u splats %u stuck %u stress %u\n",
		    all->corruptions.load(), all->deaths.load() - std::min(all->deaths.load(), all->corruptions.load()),
		    all->checker_found.load(), nr_splats, nr_stuck, stress_bad);
	std::fflush(stdout);
	return bad ? 1 : 0;
}

void set_up()
{
	char path[96];

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	mkdir(cgroup, 0755);
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	put("/sys/fs/cgroup/soak/cgroup.procs", "0");
	put("/proc/sys/vm/overcommit_memory", "1");
	put("/proc/sys/kernel/numa_balancing", "1");
	put("/sys/kernel/mm/ksm/sleep_millisecs", "20");
	put("/sys/kernel/mm/ksm/pages_to_scan", "200");
	put("/sys/kernel/mm/ksm/merge_across_nodes", "1");
	put("/sys/kernel/mm/ksm/run", "1");
	put("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "50");
	put("/sys/kernel/mm/transparent_hugepage/khugepaged/alloc_sleep_millisecs", "50");
	put("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan", "1024");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always");
	for (const char *f : {"failslab", "fail_page_alloc"}) {
		for (const char *o : {"ignore-gfp-wait", "ignore-gfp-highmem", "cache-filter"}) {
			std::snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", f, o);
			put(path, "N");
		}
		for (const char *o : {"verbose", "min-order"}) {
			std::snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", f, o);
			put(path, "0");
		}
	}
	have_checker = !access(checker, W_OK);

	worker::file = memfd_create("soak", MFD_CLOEXEC);
	std::vector<char> buf(psize);
	for (unsigned k = 0; k < file_pages; k++) {
		fill(buf.data(), tag{owner_file, k, 0});
		if (pwrite(worker::file, buf.data(), psize, k * psize) != static_cast<ssize_t>(psize)) {
			std::perror("soak: pwrite");
			std::exit(2);
		}
	}

	struct sigaction sa{};
	sa.sa_sigaction = on_fault;
	sa.sa_flags = SA_SIGINFO;
	for (int s : {SIGSEGV, SIGBUS, SIGILL})
		sigaction(s, &sa, nullptr);
}

} // namespace

int main(int argc, char **argv)
{
	unsigned for_seconds = 60, stall = 300, families = 6;
	bool with_stress = false;
	u64 seed = 1;

	for (int i = 1; i < argc; i++) {
		const std::string_view a = argv[i];

		if (a == "--exit")
			return 0;
		if (a == "--stress") {
			with_stress = true;
			continue;
		}
		if (i + 1 == argc) {
			std::fprintf(stderr, "soak: %s is no option, or wants a number\n", argv[i]);
			return 2;
		}
		const u64 v = std::strtoull(argv[++i], nullptr, 0);
		if (a == "--seed")
			seed = v;
		else if (a == "--seconds")
			for_seconds = v;
		else if (a == "--stall")
			stall = v;
		else if (a == "--families")
			families = v;
		else {
			std::fprintf(stderr, "soak: no option %s\n", argv[i - 1]);
			return 2;
		}
	}

	// In one order with what is written without stdio.
	setvbuf(stdout, nullptr, _IOLBF, 0);
	void *const p = mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		std::perror("soak: mmap");
		return 2;
	}
	all = new (p) shared{};
	all->seed = seed;
	set_up();
	return supervise(for_seconds, stall, families, with_stress);
}
