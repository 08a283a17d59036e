/* A library that uses getaddrinfo. */
#include <netdb.h>
#include <stddef.h>
#include <sys/socket.h>

int ask(const char *node)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *list;
	int result = getaddrinfo(node, NULL, &hints, &list);

	if (!result)
		freeaddrinfo(list);
	return result;
}
