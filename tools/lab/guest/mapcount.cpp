// SPDX-License-Identifier: GPL-2.0
//
// How many VMAs does a process have after each of many calls? The same calls for
// the same seed, whatever the kernel answers, so that two kernels can be
// compared line by line; and each page is checked for what was written to it.
//
// usage: mapcount SEED STEPS [fork] [dontunmap]
//
// One line for each call: step, what it was, first page and number of pages,
// target page, 0 or errno, and the number of lines of /proc/self/maps.

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr unsigned NPAGES = 192;
const size_t psize = sysconf(_SC_PAGESIZE);
char *const arena = reinterpret_cast<char *>(0x100000000000);

enum class kind : uint8_t { none, anon, file };

struct page {
	kind what = kind::none;
	int prot = 0;
	uint64_t value = 0;

	bool same(const page &o) const { return what == o.what && prot == o.prot; }
};

std::array<page, NPAGES> pages;
int fd;
bool with_fork, with_dontunmap;
unsigned depth;
uint64_t state, stamp;

uint64_t rnd()
{
	uint64_t z = (state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

unsigned below(unsigned n) { return rnd() % n; }

char *at(unsigned i) { return arena + i * psize; }

uint64_t file_value(unsigned i) { return 0xf11e000000000000 + i; }

[[noreturn]] void die(const char *what, unsigned i, uint64_t is, uint64_t want)
{
	std::printf("# %s: page %u has %#lx, not %#lx (%s)\n", what, i, is, want,
		    std::strerror(errno));
	std::fflush(stdout);
	_exit(1);
}

void check(unsigned i)
{
	if (pages[i].what == kind::none || !(pages[i].prot & PROT_READ))
		return;
	uint64_t is = *reinterpret_cast<volatile uint64_t *>(at(i));
	if (is != pages[i].value)
		die("content", i, is, pages[i].value);
}

unsigned maps()
{
	static char buf[1 << 16];
	unsigned lines = 0;
	ssize_t n;
	int m = open("/proc/self/maps", O_RDONLY);

	while ((n = read(m, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += buf[i] == '\n';
	close(m);
	return lines;
}

// The pages from i on, at most n, that are alike: they may be one VMA.
unsigned run(unsigned i, unsigned n)
{
	unsigned e = i + 1;

	while (e < NPAGES && e < i + n && pages[e].same(pages[i]))
		e++;
	return e - i;
}

void steps(unsigned from, unsigned to);

int do_mmap(unsigned i, unsigned n)
{
	bool file = below(4) == 0;
	int prot = below(3) ? PROT_READ | PROT_WRITE : below(2) ? PROT_READ : PROT_NONE;
	void *p = mmap(at(i), n * psize, prot,
		       MAP_PRIVATE | MAP_FIXED | (file ? 0 : MAP_ANONYMOUS),
		       file ? fd : -1, file ? i * psize : 0);

	if (p == MAP_FAILED)
		return errno;
	for (unsigned k = i; k < i + n; k++)
		pages[k] = { file ? kind::file : kind::anon, prot, file ? file_value(k) : 0 };
	return 0;
}

int do_munmap(unsigned i, unsigned n)
{
	if (munmap(at(i), n * psize))
		return errno;
	for (unsigned k = i; k < i + n; k++)
		pages[k] = {};
	return 0;
}

int do_mprotect(unsigned i, unsigned n)
{
	int prot = below(2) ? PROT_READ | PROT_WRITE : PROT_READ;

	// It goes up to the first hole.
	int err = mprotect(at(i), n * psize, prot) ? errno : 0;
	for (unsigned k = i; k < i + n && pages[k].what != kind::none; k++)
		pages[k].prot = prot;
	return err;
}

int do_madvise(unsigned i, unsigned n)
{
	static constexpr int advice[] = {
		MADV_SEQUENTIAL, MADV_NORMAL, MADV_DONTDUMP, MADV_DODUMP, MADV_DONTNEED,
	};
	int a = advice[below(std::size(advice))];
	int err = madvise(at(i), n * psize, a) ? errno : 0;

	if (a == MADV_DONTNEED)
		for (unsigned k = i; k < i + n; k++) {
			if (pages[k].what == kind::none)
				continue;
			pages[k].value = pages[k].what == kind::anon ? 0 : file_value(k);
		}
	return err;
}

// Move pages i.. to t.., which do not overlap, and leave nothing or zeroes behind.
int do_mremap(unsigned i, unsigned n, unsigned t, int flags)
{
	void *p = mremap(at(i), n * psize, n * psize,
			 MREMAP_MAYMOVE | MREMAP_FIXED | flags, at(t));

	if (p == MAP_FAILED)
		return errno;
	for (unsigned k = 0; k < n; k++) {
		pages[t + k] = pages[i + k];
		if (flags)
			pages[i + k].value = 0;
		else
			pages[i + k] = {};
	}
	return 0;
}

int do_resize(unsigned i, unsigned n, unsigned len)
{
	void *p = mremap(at(i), n * psize, len * psize, 0);

	if (p == MAP_FAILED)
		return errno;
	for (unsigned k = n; k < len; k++) {
		pages[i + k] = pages[i + n - 1];
		pages[i + k].value = 0;
	}
	for (unsigned k = len; k < n; k++)
		pages[i + k] = {};
	return 0;
}

void touch(unsigned i, unsigned n)
{
	for (unsigned k = i; k < i + n; k++) {
		check(k);
		if (pages[k].what == kind::none || !(pages[k].prot & PROT_WRITE) || !below(4))
			continue;
		pages[k].value = ++stamp;
		*reinterpret_cast<volatile uint64_t *>(at(k)) = stamp;
	}
}

int do_fork(unsigned step)
{
	unsigned n = 4 + below(12);
	int status;

	std::fflush(stdout);
	pid_t pid = fork();
	if (pid < 0)
		return errno;
	if (!pid) {
		depth++;
		steps(step * 1000, step * 1000 + n);
		for (unsigned k = 0; k < NPAGES; k++)
			check(k);
		std::fflush(stdout);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("child", 0, status, 0);
	return 0;
}

void steps(unsigned from, unsigned to)
{
	for (unsigned s = from; s < to; s++) {
		unsigned i = below(NPAGES), n = 1 + below(below(3) ? 8 : 40), t = 0;
		const char *what = "touch";
		int err = 0;

		if (i + n > NPAGES)
			n = NPAGES - i;
		switch (below(20)) {
		case 0 ... 2:
			what = "mmap";
			err = do_mmap(i, n);
			break;
		case 3:
			n = 1 + below(8);
			n = i + n > NPAGES ? NPAGES - i : n;
			what = "munmap";
			err = do_munmap(i, n);
			break;
		case 4 ... 9:
			what = "mprotect";
			err = do_mprotect(i, n);
			break;
		case 10:
			what = "madvise";
			err = do_madvise(i, n);
			break;
		case 11 ... 12:
			n = run(i, n);
			t = below(NPAGES - n + 1);
			if (pages[i].what == kind::anon && (t + n <= i || t >= i + n)) {
				int flags = with_dontunmap && !below(4) ? MREMAP_DONTUNMAP : 0;

				what = flags ? "dontunmap" : "mremap";
				err = do_mremap(i, n, t, flags);
				break;
			}
			[[fallthrough]];
		case 13:
			n = run(i, n);
			t = below(2) ? 1 + below(n) : n + below(8);
			if (pages[i].what == kind::anon && i + t <= NPAGES) {
				what = "resize";
				err = do_resize(i, n, t);
				break;
			}
			[[fallthrough]];
		case 14:
			if (with_fork && depth < 2 && !below(4)) {
				what = "fork";
				err = do_fork(s);
				break;
			}
			[[fallthrough]];
		default:
			touch(i, n);
		}
		std::printf("%u %s %u+%u %u %d %u\n", s, what, i, n, t, err, maps());
	}
}

} // namespace

int main(int argc, char **argv)
{
	if (argc < 3) {
		std::fprintf(stderr, "usage: mapcount SEED STEPS [fork] [dontunmap]\n");
		return 2;
	}
	for (int i = 3; i < argc; i++) {
		with_fork |= std::string_view(argv[i]) == "fork";
		with_dontunmap |= std::string_view(argv[i]) == "dontunmap";
	}
	state = std::strtoull(argv[1], nullptr, 0);

	fd = memfd_create("mapcount", 0);
	for (unsigned k = 0; k < NPAGES; k++) {
		uint64_t v = file_value(k);

		if (pwrite(fd, &v, sizeof(v), k * psize) != sizeof(v))
			die("pwrite", k, 0, 0);
	}
	if (ftruncate(fd, NPAGES * psize))
		die("ftruncate", 0, 0, 0);
	steps(0, std::atoi(argv[2]));
	for (unsigned k = 0; k < NPAGES; k++)
		check(k);
	std::printf("# done\n");
	return 0;
}
