import { useI18n } from 'vue-i18n'

/** What a type is called; one that a front end has made up is called as it is. */
export function useTypeName(): (type: string | null) => string {
  const { t, te } = useI18n()
  return (type) => {
    if (!type) return t('app.unknown')
    return te(`logs.type.${type}`) ? t(`logs.type.${type}`) : type
  }
}
