// SPDX-License-Identifier: GPL-2.0
//
// The benchmark for hardware: what operations take with vm.anon_vma_lazy 1 and 0, on the
// machine it runs on, in time.  main() says in usage() what can be asked for.
//
// Each value is measured by a fresh process, which execs this program with --one and
// prints lines as the benchmark that counts instructions does:
//	BENCH LINE SIZE REPETITION VALUE UNIT

#include "native.h"
#include "report.h"
#include "stats.h"

#include <algorithm>
#include <csignal>
#include <ctime>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

bool native::quick;

// What bench.h leaves to its program.  The clock is time; no profile is made.
namespace bench {

bool instructions;

extern "C" void bench_begin() {}
extern "C" void bench_end() {}

void settle(double)
{
	usleep(native::quick ? 100 : 2000);
}

} // namespace bench

namespace native {

std::vector<int> allowed_cpus()
{
	cpu_set_t set[16];
	std::vector<int> cpus;

	if (sched_getaffinity(0, sizeof(set), set))
		bench::die("sched_getaffinity");
	for (int i = 0; i < int(8 * sizeof(set)); i++)
		if (CPU_ISSET_S(i, sizeof(set), set))
			cpus.push_back(i);
	return cpus;
}

void pin(int cpu)
{
	cpu_set_t set[16];

	CPU_ZERO_S(sizeof(set), set);
	CPU_SET_S(cpu, sizeof(set), set);
	if (sched_setaffinity(0, sizeof(set), set))
		bench::die("processor " + std::to_string(cpu));
}

} // namespace native

namespace {

using native::quick;

// --- the sysctl, and how this program ends -------------------------------------------

constexpr const char *sysctl_file = "/proc/sys/vm/anon_vma_lazy";
int sysctl_fd = -1;
char sysctl_was[16];
volatile pid_t running;		// leads the group of all processes that measure
const char *empty_dir;		// for results that there are not yet

void put_back()
{
	if (empty_dir)
		rmdir(empty_dir);
	if (sysctl_fd >= 0 && pwrite(sysctl_fd, sysctl_was, 1, 0) != 1) {
		constexpr char line[] = "bench-native: cannot put vm.anon_vma_lazy back\n";

		[[maybe_unused]] const auto n = write(2, line, sizeof(line) - 1);
	}
}

extern "C" void interrupted(int sig)
{
	constexpr char line[] = "bench-native: interrupted: no results\n";

	if (running > 0)
		kill(-running, SIGKILL);
	put_back();
	[[maybe_unused]] const auto n = write(2, line, sizeof(line) - 1);
	_exit(128 + sig);
}

[[noreturn]] void fail(const std::string &what)
{
	put_back();
	std::fflush(stdout);
	std::fprintf(stderr, "bench-native: %s\n", what.c_str());
	std::exit(1);
}

void open_sysctl()
{
	const int fd = open(sysctl_file, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		const int e = errno;

		if (e == ENOENT)
			fail("this kernel has no vm.anon_vma_lazy: boot the patched one (or --record FILE.csv)");
		if (e == EACCES || e == EPERM)
			fail("only root can switch vm.anon_vma_lazy: run this as root");
		fail(std::string(sysctl_file) + ": " + std::strerror(e));
	}
	if (pread(fd, sysctl_was, sizeof(sysctl_was) - 1, 0) < 1)
		fail(std::string(sysctl_file) + " cannot be read");
	sysctl_fd = fd;
}

void set_sysctl(char value)
{
	char is = 0;

	if (pwrite(sysctl_fd, &value, 1, 0) != 1 || pread(sysctl_fd, &is, 1, 0) != 1 || is != value)
		fail(std::string("vm.anon_vma_lazy does not become ") + value);
}

std::string first_line(const std::string &path)
{
	std::ifstream f(path);
	std::string line;

	std::getline(f, line);
	return line;
}

// --- options ----------------------------------------------------------------------------

struct Options {
	unsigned rounds = 0;
	bool any_rounds;	// fewer will do, of a quick run
	int cpu = -1;
	bool control = false;
	std::string record, base, out;
	std::vector<std::string> rows;
};

[[noreturn]] void usage()
{
	std::printf("%s",
"What operations on memory mappings take on this machine, with vm.anon_vma_lazy at 1\n"
"and at 0.  The kernel is the patched one, and this is run by root.\n"
"\n"
"usage: bench-native [OPTION]... [ROW[:SIZE]]...\n"
"\n"
"	--rounds N	how often all is measured (15); each time in the order 0 1 1 0\n"
"	--quick		in seconds: small sizes, up to 6 rounds; to see that it runs\n"
"	--out DIR	where the results go (result-DATE-TIME)\n"
"	--record FILE	measure this kernel as it is, whichever it is, without root\n"
"	--base FILE	compare with that file too: recorded on this machine, booted\n"
"			with the unpatched kernel\n"
"	--control	leave the sysctl as it is: what the ratios are when nothing differs\n"
"	--cpu N		where what needs one processor runs (the last)\n"
"	--list		the rows\n"
"	--selftest	are medians and intervals right on known data?\n");
	std::exit(0);
}

unsigned number(const std::string &option, const std::string &value, unsigned least, unsigned most)
{
	char *end;
	const unsigned long n = std::strtoul(value.c_str(), &end, 10);

	if (value.empty() || *end || value[0] < '0' || value[0] > '9')
		fail(option + " " + value + " is not a number");
	if (n < least || n > most)
		fail(option + " " + value + " is not between " + std::to_string(least) + " and " +
		     std::to_string(most));
	return n;
}

Options parse(const std::vector<std::string> &args)
{
	Options o;

	for (std::size_t i = 0; i < args.size(); i++) {
		const std::string &a = args[i];
		const auto value = [&]() -> const std::string & {
			if (i + 1 == args.size())
				fail(a + " wants a value");
			return args[++i];
		};

		if (a == "--quick")
			quick = true;
		else if (a == "--rounds")
			o.rounds = number(a, value(), 1, 100);
		else if (a == "--cpu")
			o.cpu = number(a, value(), 0, 8191);
		else if (a == "--out")
			o.out = value();
		else if (a == "--record")
			o.record = value();
		else if (a == "--base")
			o.base = value();
		else if (a == "--control")
			o.control = true;
		else if (a.starts_with("-"))
			fail("unknown option " + a + ": --help lists them");
		else
			o.rows.push_back(a);
	}
	if (!o.record.empty() && !(o.base + o.out).empty())
		fail("--record goes with neither --base nor --out");
	if (!o.record.empty() && o.control)
		fail("--record does not go with --control");
	o.any_rounds = !o.rounds;
	if (!o.rounds)
		o.rounds = quick ? 6 : 15;
	return o;
}

// --- one value ----------------------------------------------------------------------------

struct Step {
	const native::Row *row;
	long size;

	std::string name() const { return std::string(row->name) + ":" + std::to_string(size); }
};

std::vector<native::Row> all_rows()
{
	std::vector<native::Row> rows = native::vma_rows;

	for (const native::Row &r : native::scale_rows(native::allowed_cpus().size()))
		rows.push_back(r);
	return rows;
}

// In the process that measures.  --one ROW SIZE CPU quick|full
int one(const std::vector<std::string> &args)
{
	const std::vector<native::Row> rows = all_rows();
	bench::Run run{std::atol(args[2].c_str()), quick ? 1u : 2u};

	for (const native::Row &r : rows) {
		if (args[1] != r.name)
			continue;
		// What scales warms up and goes to its processors itself.
		if (r.scales)
			run.reps = 1;
		else
			native::pin(std::atoi(args[3].c_str()));
		for (; run.rep < run.reps; run.rep++)
			r.run(run);
		return 0;
	}
	return 1;
}

// Measures a row at a size once.  The last value of each line counts; those before are
// to warm up.
std::vector<Value> measure(const Step &step, int cpu)
{
	const std::string size = std::to_string(step.size), on = std::to_string(cpu);
	std::string said;
	int fds[2], status;
	char buffer[4096];

	if (pipe(fds))
		fail(std::string("pipe: ") + std::strerror(errno));
	const pid_t pid = fork();
	if (pid < 0)
		fail(std::string("fork: ") + std::strerror(errno));
	if (!pid) {
		setpgid(0, 0);
		for (int s : {SIGINT, SIGTERM, SIGHUP})
			signal(s, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		// The same addresses each time, small pages, and no area that the kernel
		// writes to by itself and so copies after each fork.
		personality(ADDR_NO_RANDOMIZE);
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
		setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		execl("/proc/self/exe", "native", "--one", step.row->name, size.c_str(), on.c_str(),
		      quick ? "quick" : "full", nullptr);
		_exit(127);
	}
	setpgid(pid, pid);
	running = pid;
	close(fds[1]);
	for (ssize_t n; (n = read(fds[0], buffer, sizeof(buffer))) > 0;)
		said.append(buffer, n);
	close(fds[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	running = 0;
	if (status) {
		const std::size_t at = said.find("BENCH-FAILED ");

		fail(step.name() + " failed: " +
		     (at == said.npos ? "status " + std::to_string(status)
				      : said.substr(at + 13, said.find('\n', at) - at - 13)));
	}

	std::istringstream lines(said);
	std::vector<Value> values;
	for (std::string line; std::getline(lines, line);) {
		std::istringstream words(line);
		std::string mark;
		unsigned rep;
		Value v;

		if (!(words >> mark >> v.line >> v.size >> rep >> v.value >> v.unit) || mark != "BENCH")
			fail(step.name() + " said: " + line);
		if (!(v.value > 0))
			fail(step.name() + " took no time: " + line);
		if (quick || v.unit == "ops/s" || rep == 1)
			values.push_back(v);
	}
	if (values.empty())
		fail(step.name() + " gave no value");
	return values;
}

// --- all of them -----------------------------------------------------------------------------

// What is to be the same of two runs that are compared.
std::string machine(const utsname &u)
{
	std::ifstream f("/proc/cpuinfo");
	std::string model, implementer, part;

	for (std::string line; std::getline(f, line);) {
		const std::size_t colon = line.find(':');
		const std::string v = colon == line.npos ? "" : line.substr(std::min(colon + 2, line.size()));

		if (line.starts_with("model name"))
			model = v;
		else if (line.starts_with("CPU implementer"))
			implementer = v;
		else if (line.starts_with("CPU part"))
			part = v;
	}
	if (model.empty())
		model = "implementer " + implementer + " part " + part;
	return std::string(u.machine) + ", " + model + ", " +
	       std::to_string(native::allowed_cpus().size()) + " processors";
}

std::vector<Step> chosen(const std::vector<native::Row> &rows, const Options &o)
{
	std::vector<Step> steps;

	for (const std::string &name : o.rows) {
		bool known = false;

		for (const native::Row &r : rows)
			for (long s : r.sizes)
				known |= name == r.name || name == Step{&r, s}.name();
		if (!known)
			fail("there is no row " + name + ": --list lists them");
	}
	for (const native::Row &r : rows) {
		for (long s : r.sizes) {
			const Step step{&r, s};
			const bool any = !quick || r.scales || s == r.sizes[0];
			bool wanted = o.rows.empty() && any;

			for (const std::string &name : o.rows)
				wanted |= name == step.name() || (name == r.name && any);
			if (wanted)
				steps.push_back(step);
		}
	}
	return steps;
}

std::string minutes(double s)
{
	char text[32];

	std::snprintf(text, sizeof(text), "%um%02us", unsigned(s) / 60, unsigned(s) % 60);
	return text;
}

// Says how far it is, if it said nothing for ten seconds.
class Progress {
public:
	explicit Progress(std::size_t all) : all_(all) {}
	double so_far() const { return (bench::now() - begin_) / 1e9; }
	void step(const std::string &doing)
	{
		const double s = so_far();

		if (s - said_ >= 10 && done_) {
			std::fprintf(stderr, "bench-native: %s; %s so far, about %s to go\n", doing.c_str(),
				     minutes(s).c_str(), minutes(s / done_ * (all_ - done_)).c_str());
			said_ = s;
		}
		done_++;
	}

private:
	std::size_t all_, done_ = 0;
	double said_ = 0;
	std::uint64_t begin_ = bench::now();
};

} // namespace

int main(int argc, char **argv)
{
	const std::vector<std::string> args(argv + 1, argv + argc);
	utsname u;

	if (args.size() == 1 && args[0] == "--nothing")
		return 0;
	if (args.size() == 5 && args[0] == "--one") {
		quick = args[4] == "quick";
		return one(args);
	}
	for (const std::string &a : args)
		if (a == "--help" || a == "-h")
			usage();
	const std::vector<native::Row> rows = all_rows();
	if (args.size() == 1 && args[0] == "--selftest") {
		const bool right = stats::selftest();

		std::printf("medians and intervals: %s\n", right ? "right" : "WRONG");
		return !right;
	}
	if (args.size() == 1 && args[0] == "--list") {
		for (const native::Row &r : rows) {
			std::string sizes;

			for (long s : r.sizes)
				sizes += " " + std::to_string(s);
			std::printf("%-16s %s;%s\n", r.name, r.what, sizes.c_str());
		}
		return 0;
	}

	// All that can be wrong comes before any work.
	Options o = parse(args);
	const std::vector<int> cpus = native::allowed_cpus();
	if (o.cpu < 0)
		o.cpu = cpus.back();
	if (std::find(cpus.begin(), cpus.end(), o.cpu) == cpus.end())
		fail("--cpu " + std::to_string(o.cpu) + " is none that this program may run on");
	if (sysconf(_SC_PAGESIZE) != bench::page)
		fail("pages are " + std::to_string(sysconf(_SC_PAGESIZE)) + " bytes here: only 4096 will do");
	const std::vector<Step> steps = chosen(rows, o);
	uname(&u);
	const bool recording = !o.record.empty();
	Results results;
	results.mode = quick ? "quick" : "full";
	results.machine = machine(u);
	for (const Step &s : steps)
		results.rows.push_back(s.name());
	Results base;
	if (!o.base.empty()) {
		const std::string wrong = base.read(o.base, results);

		if (!wrong.empty())
			fail(o.base + " " + wrong);
	}
	if (!recording && !o.control)
		open_sysctl();
	std::string lazy = first_line(sysctl_file);
	results.kernel = std::string(u.release) + " " + u.version + ", vm.anon_vma_lazy " +
			 (lazy.empty() ? "none" : recording || o.control ? lazy : "0 and 1");
	const std::time_t now = std::time(nullptr);
	char date[32];
	std::strftime(date, sizeof(date), "%Y%m%d-%H%M%S", std::localtime(&now));
	if (recording) {
		const int fd = open(o.record.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

		if (fd < 0)
			fail(o.record + ": " + std::strerror(errno));
		close(fd);
		unlink(o.record.c_str());
	} else {
		if (o.out.empty())
			o.out = std::string("result-") + date;
		if (mkdir(o.out.c_str(), 0755))
			fail(o.out + ": " + std::strerror(errno));
		empty_dir = o.out.c_str();
	}

	struct sigaction action{};
	action.sa_handler = interrupted;
	for (int s : {SIGINT, SIGTERM, SIGHUP}) {
		sigaddset(&action.sa_mask, s);
		sigaction(s, &action, nullptr);
	}

	const std::string order = recording ? "bb" : "0110";
	const std::string governor = first_line("/sys/devices/system/cpu/cpu" + std::to_string(o.cpu) +
						"/cpufreq/scaling_governor");
	std::fprintf(stderr, "bench-native: %s\nbench-native: Linux %s\n", results.machine.c_str(),
		     results.kernel.c_str());
	std::fprintf(stderr, "bench-native: %zu rows, %s%u rounds; one task runs on processor %d%s%s\n",
		     steps.size(), quick && o.any_rounds ? "up to " : "", o.rounds, o.cpu, governor.empty() ? "" : ", governor ",
		     governor.c_str());

	Progress progress(o.rounds * steps.size() * order.size());
	for (unsigned round = 1; round <= o.rounds; round++) {
		// The round's mean: what changes steadily meets both sides alike.
		for (const Step &s : steps)
			for (char config : order) {
				progress.step("round " + std::to_string(round) + " of " +
					      std::to_string(o.rounds) + ", " + s.name());
				if (sysctl_fd >= 0)
					set_sysctl(config);
				for (const Value &v : measure(s, o.cpu))
					results.add(config, round, v);
			}
		if (quick && o.any_rounds && progress.so_far() > 8)
			break;
	}
	if (sysctl_fd >= 0)
		set_sysctl(sysctl_was[0]);

	std::string wrong;
	if (recording) {
		std::printf("%s", results.recorded().c_str());
		wrong = write_text(o.record, results.samples());
		if (wrong.empty())
			std::printf("\nRecorded: %s (%s)\n", o.record.c_str(), minutes(progress.so_far()).c_str());
	} else {
		const std::string table = results.table(o.base.empty() ? nullptr : &base, o.control);

		std::printf("%s", table.c_str());
		wrong = write_text(o.out + "/table.txt", table);
		if (wrong.empty())
			wrong = write_text(o.out + "/table.csv", results.csv(o.base.empty() ? nullptr : &base));
		if (wrong.empty())
			wrong = write_text(o.out + "/samples.csv", results.samples());
		if (wrong.empty())
			std::printf("\nResults: %s/table.txt, table.csv; all values: samples.csv (%s)\n", o.out.c_str(),
				    minutes(progress.so_far()).c_str());
	}
	if (!wrong.empty())
		fail(wrong);
	return 0;
}
