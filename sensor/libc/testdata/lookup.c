/* Calls getaddrinfo in the ways that programs do. It says what it got, and ends with
 * another status than 0 where something went wrong. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *text(const char *argument)
{
	return argument && strcmp(argument, "-") ? argument : NULL;
}

static int lookup(const char *node, const char *service, int family, int socktype)
{
	struct addrinfo hints = { .ai_family = family, .ai_socktype = socktype }, *list = NULL;
	int result = getaddrinfo(node, service, &hints, &list);

	if (!result)
		freeaddrinfo(list);
	return result;
}

static void check(int result, int want)
{
	if (result != want) {
		fprintf(stderr, "getaddrinfo returned %d, not %d\n", result, want);
		_exit(3);
	}
}

static const char *const here = "127.0.0.1";

static void *many(void *arg)
{
	for (int i = 0; i < 50; i++)
		check(lookup(arg, "80", AF_INET, SOCK_STREAM), 0);
	return NULL;
}

static void threads(void)
{
	static char *names[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4" };
	pthread_t list[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&list[i], NULL, many, names[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(list[i], NULL);
}

static void children(int vforked)
{
	for (int i = 0; i < 5; i++) {
		pid_t child = vforked ? vfork() : fork();
		int status;

		if (!child) {
			/* A child of vfork must not, but programs do. */
			check(lookup(here, NULL, AF_INET, SOCK_STREAM), 0);
			_exit(0);
		}
		waitpid(child, &status, 0);
		check(status, 0);
	}
	check(lookup(here, NULL, AF_INET, SOCK_STREAM), 0);
}

static sigjmp_buf out;

static void leave(int signal)
{
	(void)signal;
	siglongjmp(out, 1);
}

/* A lookup waits for its answer by then, on a slow machine too, and will for a
 * while: the timeout is 1 s. What is interrupted earlier, in the middle of what
 * libc does, is left in any state. */
enum { IN_THE_CALL_MS = 300 };

static void alarm_in_the_call(void)
{
	struct itimerval timer = { .it_value = { .tv_usec = IN_THE_CALL_MS * 1000 } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

/* Out of calls that wait for an answer, each time from the same depth of stack. */
static void jumps(const char *mute)
{
	signal(SIGALRM, leave);
	for (volatile int i = 0; i < 5; i++) {
		if (!sigsetjmp(out, 1)) {
			alarm_in_the_call();
			lookup(mute, NULL, AF_INET, SOCK_STREAM);
			_exit(4);
		}
		check(lookup(here, NULL, AF_INET, SOCK_STREAM), 0);
	}
}

/* On a stack of its own, which lies anywhere. */
static void jumps_on_other_stack(const char *mute)
{
	stack_t stack = { .ss_sp = malloc(1 << 20), .ss_size = 1 << 20 };
	struct sigaction action = { .sa_handler = leave, .sa_flags = SA_ONSTACK };

	sigaltstack(&stack, NULL);
	sigaction(SIGALRM, &action, NULL);
	for (volatile int i = 0; i < 5; i++) {
		if (!sigsetjmp(out, 1)) {
			alarm_in_the_call();
			lookup(mute, NULL, AF_INET, SOCK_STREAM);
			_exit(4);
		}
		check(lookup(here, NULL, AF_INET, SOCK_STREAM), 0);
	}
}

static void nested(int signal)
{
	(void)signal;
	check(lookup("127.0.0.9", NULL, AF_INET, SOCK_STREAM), 0);
}

/* A call in the middle of a call, as modules of nsswitch.conf make them. */
static void nests(const char *mute)
{
	signal(SIGALRM, nested);
	alarm_in_the_call();
	check(lookup(mute, NULL, AF_INET, SOCK_STREAM), EAI_AGAIN);
}

static void split(int signal)
{
	(void)signal;
	fork();
}

/* A process that becomes two in the middle of a call: both return from it. */
static void splits(const char *mute)
{
	pid_t self = getpid();
	int status;

	signal(SIGALRM, split);
	alarm_in_the_call();
	check(lookup(mute, NULL, AF_INET, SOCK_STREAM), EAI_AGAIN);
	if (getpid() != self)
		_exit(0);
	wait(&status);
	check(status, 0);
}

static void *wait_for_answer(void *mute)
{
	lookup(mute, NULL, AF_INET, SOCK_STREAM);
	return NULL;
}

static void wait_ms(int ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&time, NULL);
}

static int cleaned;

static void clean(void *unused)
{
	(void)unused;
	cleaned = 1;
}

static void *wait_to_be_cancelled(void *mute)
{
	pthread_cleanup_push(clean, NULL);
	lookup(mute, NULL, AF_INET, SOCK_STREAM);
	pthread_cleanup_pop(0);
	return NULL;
}

/* A thread that is cancelled in a call, and has something to clean. */
static void cancels(char *mute)
{
	pthread_t thread;
	void *result;

	pthread_create(&thread, NULL, wait_to_be_cancelled, mute);
	wait_ms(IN_THE_CALL_MS);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	check(result != PTHREAD_CANCELED, 0);
	check(cleaned, 1);
	check(lookup(here, NULL, AF_INET, SOCK_STREAM), 0);
}

static void execs(char *self, char *mute)
{
	pthread_t thread;

	pthread_create(&thread, NULL, wait_for_answer, mute);
	wait_ms(IN_THE_CALL_MS);
	execl(self, self, "node", here, (char *)NULL);
}

/* A library that uses it comes and goes. */
static void loads(const char *library)
{
	for (int i = 0; i < 5; i++) {
		void *handle = dlopen(library, RTLD_NOW);
		int (*ask)(const char *) = handle ? (int (*)(const char *))dlsym(handle, "ask") : NULL;

		if (!ask) {
			fprintf(stderr, "%s\n", dlerror());
			exit(5);
		}
		check(ask(here), 0);
		dlclose(handle);
	}
}

/* Under a filter that does not know the system call by which the kernel may return
 * from a function that is probed: uretprobe, on x86-64. */
static void sandboxed(void)
{
	/* linux/filter.h and linux/seccomp.h, which musl's compiler has not */
	struct { unsigned short code; unsigned char yes, no; unsigned value; } filter[] = {
		{ 0x20, 0, 0, 0 },          /* load the call's number */
		{ 0x15, 0, 1, 335 },        /* go on if it is this one */
		{ 0x06, 0, 0, 0x80000000 }, /* kill the process */
		{ 0x06, 0, 0, 0x7fff0000 }, /* allow it */
	};
	struct { unsigned short length; void *filter; } program = { 4, filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program)) {
		perror("prctl");
		exit(6);
	}
	check(lookup(here, NULL, AF_INET, SOCK_STREAM), 0);
}

/* Names at the edges. */
static void odd(void)
{
	static char longest[256], longer[2001];

	for (int i = 0; i < 255; i++)
		longest[i] = i % 50 == 49 ? '.' : 'a';
	memset(longer, 'b', 2000);
	lookup(longest, NULL, AF_INET, SOCK_STREAM);
	lookup(longer, NULL, AF_INET, SOCK_STREAM);
	lookup("b\xc3\xbc" "cher.\xff.invalid", NULL, AF_INET, SOCK_STREAM);
	lookup("", NULL, AF_INET, SOCK_STREAM);
}

static long ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* Says how many nanoseconds a call takes. */
static void bench(const char *node, int times)
{
	long began = ns();

	for (int i = 0; i < times; i++)
		check(lookup(node, NULL, AF_INET, SOCK_STREAM), 0);
	printf("%ld\n", (ns() - began) / times);
}

/* Says how many nanoseconds a child takes that runs a program. */
static void spawn(char *program, int times)
{
	long began = ns();

	for (int i = 0; i < times; i++) {
		pid_t child = vfork();

		if (!child) {
			execl(program, program, (char *)NULL);
			_exit(127);
		}
		waitpid(child, NULL, 0);
	}
	printf("%ld\n", (ns() - began) / times);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	char *arg = argc > 2 ? argv[2] : NULL;

	if (!strcmp(what, "node")) {
		printf("%d\n", lookup(text(arg), text(argc > 3 ? argv[3] : NULL), argc > 4 ? atoi(argv[4]) : AF_INET, argc > 5 ? atoi(argv[5]) : SOCK_STREAM));
		return 0;
	}
	if (!strcmp(what, "wait")) /* with the libc in memory, until it is told */
		return getchar() != EOF;
	if (!strcmp(what, "bench"))
		bench(arg, atoi(argv[3]));
	else if (!strcmp(what, "spawn"))
		spawn(arg, atoi(argv[3]));
	else if (!strcmp(what, "threads"))
		threads();
	else if (!strcmp(what, "fork"))
		children(0);
	else if (!strcmp(what, "vfork"))
		children(1);
	else if (!strcmp(what, "longjmp"))
		jumps(arg);
	else if (!strcmp(what, "longjmp-stack"))
		jumps_on_other_stack(arg);
	else if (!strcmp(what, "nested"))
		nests(arg);
	else if (!strcmp(what, "split"))
		splits(arg);
	else if (!strcmp(what, "cancel"))
		cancels(arg);
	else if (!strcmp(what, "exec"))
		execs(argv[0], arg);
	else if (!strcmp(what, "dlopen"))
		loads(arg);
	else if (!strcmp(what, "sandbox"))
		sandboxed();
	else if (!strcmp(what, "later")) {
		wait_ms(3000);
		check(lookup(here, NULL, AF_INET, SOCK_STREAM), 0);
	} else if (!strcmp(what, "odd"))
		odd();
	else
		return 2;
	return 0;
}
