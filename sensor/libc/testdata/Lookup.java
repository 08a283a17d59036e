import java.net.InetAddress;

class Lookup {
	public static void main(String[] args) throws Exception {
		InetAddress.getAllByName(args[0]);
	}
}
