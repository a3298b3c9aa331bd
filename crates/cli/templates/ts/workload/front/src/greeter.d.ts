// wit/greeter.wit
declare module "app:{{name}}/greeter" {
  const greeter: {
    greet(name: string): string;
  };
  export default greeter;
}
